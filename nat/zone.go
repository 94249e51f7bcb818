package nat

// Zone is a conntrack zone (struct nf_conntrack_zone): connections of different zones do not know of each other, be their
// tuples the same. The zero Zone is the default one.
type Zone struct {
	ID uint16
	// NotOriginal and NotReply leave one direction's tuples in the default zone.
	NotOriginal, NotReply bool
}

// In is the zone's number for the tuples of a direction (nf_ct_zone_id).
func (z Zone) In(d Direction) uint16 {
	if d == Reply && z.NotReply || d == Original && z.NotOriginal {
		return 0
	}
	return z.ID
}
