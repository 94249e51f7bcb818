package gateway

import (
	"natlab/nat"
	"natlab/nat/ipset"
	"natlab/nat/rules"
)

// Facts are what is known of a node besides its namespace and its rules.
type Facts struct {
	Kernel nat.Kernel // the zero one is the newest
	Sets   ipset.Sets // what rules ask of others is not known
	// NoAddresses tells that the namespace's addresses need not be all that the node has: any other may be its own.
	NoAddresses bool
	// Queues tells whether a program listens on the queues that NFQUEUE rules name.
	Queues rules.Answer
	// IPsec tells whether there are IPsec policies or states (ip xfrm); which packets they are for is not known.
	IPsec rules.Answer
}

// QueueListens tells whether a program listens on a queue, as far as Facts know.
func (v *visit) QueueListens(uint16, uint16) rules.Answer { return v.options.Queues }

// IPsec is No for every packet of a node that has none, and not known of any other.
func (v *visit) IPsec(*rules.Packet, bool) rules.Answer {
	if v.options.IPsec == rules.No {
		return rules.No
	}
	return rules.Unknown
}
