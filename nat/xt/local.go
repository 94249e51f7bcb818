package xt

import "natlab/nat/rules"

// Owner is -m owner (xt_owner.c); its options are kept as printed.
type Owner struct{ Options string }

// Name is "owner".
func (Owner) Name() string { return "owner" }

// Save prints the options.
func (m Owner) Save(p *Printer) { p.Flag(m.Options != "", m.Options) }

// Holds is not known: a packet does not tell whose it is.
func (Owner) Holds(*rules.Visit) rules.Answer { return rules.Unknown }

// Actual tells that the owner is not known.
func (Owner) Actual(*rules.Visit) string { return "whose packet it is is not known" }

// Socket is -m socket (xt_socket.c); its options are kept as printed.
type Socket struct{ Options string }

// Name is "socket".
func (Socket) Name() string { return "socket" }

// Save prints the options.
func (m Socket) Save(p *Printer) { p.Flag(m.Options != "", m.Options) }

// Holds is not known.
func (Socket) Holds(*rules.Visit) rules.Answer { return rules.Unknown }

// Actual tells that the node's sockets are not known.
func (Socket) Actual(*rules.Visit) string { return "the node's sockets are not known" }
