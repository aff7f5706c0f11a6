"""Functions that this server offers to its responder and runs: built in, in Python, over MCP."""
