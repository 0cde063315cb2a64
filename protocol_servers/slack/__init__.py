"""The Slack server: workspaces as messages."""
