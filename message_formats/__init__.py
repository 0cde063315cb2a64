"""What may travel: the message formats, their documentation, checks, JSON form and answers."""
