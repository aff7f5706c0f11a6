"""Tasks on the engine.

Typed questions in one pass (`decide`, `questions`, `values`, `calibration`), words routed to tasks
(`routing`), JSON documents of a schema (`json_fill`; `scaffold` reads the schema into `nodes`,
`writer` writes with the tokens of `vocabulary`) and guided acceptance of drafts (`guided`).
"""
