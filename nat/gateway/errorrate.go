package gateway

import (
	"maps"
	"net/netip"
	"time"
)

// A node tells an IPv4 source that there is no way five times at once and then once a second, whatever icmp_ratelimit is
// (ip_error with net.ipv4.route.error_burst and error_cost, in net/ipv4/route.c).
const (
	errorBurst = 5 * time.Second
	errorCost  = time.Second
	errorSlack = time.Second / 2 // of the packet's time, which is not the one at which the kernel looks at its clock
	errorPeers = 4096            // more sources than these are forgotten where they may be told again as often as at first
)

// peer is a source that has been told (struct inet_peer): what it is still good for.
type peer struct {
	tokens time.Duration
	last   time.Time
}

// since is the peer at a later time.
func (p peer) since(at time.Time) peer {
	return peer{min(errorBurst, p.tokens+at.Sub(p.last)), at}
}

// mayTell reports whether a source is told once more that there is no way. Where the time decides it by little it is not known.
func (v *visit) mayTell(src netip.Addr) bool {
	if v.peers == nil {
		v.peers = map[netip.Addr]peer{}
	}
	if len(v.peers) >= errorPeers {
		maps.DeleteFunc(v.peers, func(_ netip.Addr, p peer) bool { return p.since(v.at).tokens == errorBurst })
	}
	p, known := v.peers[src]
	if !known {
		p = peer{errorBurst, v.at}
	}
	had := p.tokens
	p = p.since(v.at)
	if d := p.tokens - errorCost; had < errorCost && d.Abs() < errorSlack {
		v.unmodelled("whether a source is told once more of a missing way is not modelled to the half second")
		return false
	}
	tell := p.tokens >= errorCost
	if tell {
		p.tokens -= errorCost
	}
	v.peers[src] = p
	return tell
}
