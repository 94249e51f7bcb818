// Package service has what the objects of a cluster mean for a packet: which endpoints may serve a client, as whom their
// servers see it, and what is rejected or dropped. It knows no rules, no tables and no data plane: it is what each of them is held to.
package service
