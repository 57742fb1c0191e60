"""The site: parse, call, render. Decides nothing about money and holds no key."""
