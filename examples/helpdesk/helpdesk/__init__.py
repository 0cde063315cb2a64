"""A helpdesk: browsers and mail meet in one room."""
