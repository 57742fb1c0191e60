"""Pictures and posters that show a campaign where its pages cannot. Pure: from values to bytes."""
