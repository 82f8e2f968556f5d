"""Materials made elsewhere: the wrapping pair, opening what was wrapped under it, and judging what came out.

Knows no store: a store that imports combines these parts with its own way of keeping materials.
"""
