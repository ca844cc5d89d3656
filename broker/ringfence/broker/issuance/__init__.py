"""Issuing: authorise, draft, check, record the intent, sign, check, record, deliver, in that order and no other."""
