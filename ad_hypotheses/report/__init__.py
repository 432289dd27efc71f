"""What a person reads: the record of a study, its page, its pictures and its short form."""
