package retryq

// AgeTombs lets tests pass 30 days without living through each second of them.
var AgeTombs = (*Ledger).ageTombs
