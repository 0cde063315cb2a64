"""Mail that a provider took and posts to us: the same `email.receive` as by SMTP, and the same answers.

Everything a provider sends is taken apart only after it was verified who sent it, or while that is found out, and a
whole mail is made of it, which goes the way of all mail. So repeats, consumers and outcomes are the same.
"""
