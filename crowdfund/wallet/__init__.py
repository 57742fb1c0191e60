"""Bitcoin itself: amounts, addresses, descriptors, transactions, fees, payment URIs, keys. Knows no campaign."""
