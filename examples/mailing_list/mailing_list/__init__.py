"""A mailing list: subscribe and leave by mail, bounces, and an archive on the web."""
