"""Tasks on the engine.

JSON documents of a schema (`json_fill`, `scaffold`) and guided acceptance of drafts (`guided`).
"""
