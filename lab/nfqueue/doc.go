// Package nfqueue hands packets from netfilter to the program and their verdicts back (nfnetlink_queue.c): it binds a queue, takes packets by
// the batch, and makes the rule that feeds it. What becomes of a packet is for its user to decide.
package nfqueue
