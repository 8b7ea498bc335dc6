"""From plain data to what people read: text, JSON, CSV, HTML.

Units, rounding and escaping happen here and only here.
"""
