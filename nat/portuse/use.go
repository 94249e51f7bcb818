package portuse

import (
	"net/netip"
	"time"

	"natlab/nat"
)

// Use is the use of ports over some time.
type Use struct {
	Begin time.Time `json:"begin"` // of what is told
	End   time.Time `json:"end"`   //
	Range Range     `json:"range"` // the ports that a rule chooses from
	Pools []Pool    `json:"pools"` // in the order of protocols and addresses
}

// Range is a range of ports, both ends with it.
type Range struct {
	Low  uint16 `json:"low"`
	High uint16 `json:"high"`
}

// Usual is what MASQUERADE and SNAT choose from where no rule names ports and the client's own is no well-known one
// (nf_nat_l4proto_unique_tuple of the kernel's nf_nat_core.c).
var Usual = Range{1024, 65535}

// Size is how many ports the range has.
func (r Range) Size() int { return int(r.High) - int(r.Low) + 1 }

// Pool is the ports of one protocol at one address that some connection was translated to. Connections of the node's own from that address
// are of it, too: whatever answers go to it takes a port of it. For ICMP a port is a query's identifier.
type Pool struct {
	Protocol     nat.Proto     `json:"protocol"`
	Address      netip.Addr    `json:"address"`
	Zone         uint16        `json:"zone,omitempty"` // of conntrack: each has ports of its own
	Connections  int           `json:"connections"`    // in all
	Peak         int           `json:"peak"`           // the most that were there at once
	PeakAt       time.Time     `json:"peakAt"`         // when that was first
	AtEnd        int           `json:"atEnd"`          // those that are still there
	Ports        int           `json:"ports"`          // different ones, in all
	Destinations []Destination `json:"destinations"`   // the fullest first
	Leases       []Lease       `json:"leases"`         // in the order of their beginnings
}

// Destination is an endpoint that a pool's connections lead to, behind any DNAT. Two connections may have one port where their endpoints differ, so a pool
// runs out for each of them by itself.
type Destination struct {
	Endpoint    netip.AddrPort `json:"endpoint"`
	Connections int            `json:"connections"`
	Peak        int            `json:"peak"` // the most ports in use at once
	AtEnd       int            `json:"atEnd"`
}

// Lease is a port in use by one connection.
type Lease struct {
	Port     uint16         `json:"port"`
	Client   netip.AddrPort `json:"client"` // as it asked
	Endpoint netip.AddrPort `json:"endpoint"`
	Own      bool           `json:"own,omitempty"`    // the node's own connection, which was not translated
	From     time.Time      `json:"from,omitzero"`    // zero: it was there before Begin
	Until    time.Time      `json:"until,omitzero"`   // zero: it was there at End
	Silent   bool           `json:"silent,omitempty"` // no event told its end: it was found to be gone at Until
}

// begin and end are a lease's, inside of what is told.
func (l *Lease) begin(u *Use) time.Time {
	if l.From.IsZero() {
		return u.Begin
	}
	return l.From
}

func (l *Lease) end(u *Use) time.Time {
	if l.Until.IsZero() {
		return u.End
	}
	return l.Until
}

// Levels are how many of a pool's connections were there at once, at most, in each of n equal parts of the time.
func (u *Use) Levels(p *Pool, n int) []int {
	out := make([]int, n)
	part := func(at time.Time) int {
		whole := u.End.Sub(u.Begin)
		if whole <= 0 {
			return 0
		}
		return min(n-1, max(0, int(float64(at.Sub(u.Begin))/float64(whole)*float64(n))))
	}
	level, last := 0, 0
	for _, c := range u.changes(p.Leases) {
		now := part(c.at)
		for i := last + 1; i <= now; i++ {
			out[i] = level
		}
		last = max(last, now)
		level += c.by
		out[last] = max(out[last], level)
	}
	for i := last + 1; i < n; i++ {
		out[i] = level
	}
	return out
}
