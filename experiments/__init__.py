"""Data preparation and studies for particular data sets; nothing else imports from here."""
