"""The pages: what the ledger knows, for people with a browser.

A page is a value and a template. The value is a struct of facts, made by a function that knows nothing of HTML; the
template turns it into HTML and asks for nothing more. `PATH.json` answers the value itself, `PATH.csv` its rows: what a
person sees and what a program reads cannot differ.
"""
