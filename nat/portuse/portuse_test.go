package portuse_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/portuse"
)

// second is a time of the tests.
func second(n int) time.Time { return time.Unix(1_764_201_600+int64(n), 0).UTC() }

// entry is a connection whose answers come from an endpoint and go to an address.
func entry(proto nat.Proto, from, endpoint, answersTo string) nat.Entry {
	client, server, to := netip.MustParseAddrPort(from), netip.MustParseAddrPort(endpoint), netip.MustParseAddrPort(answersTo)
	return nat.Entry{Conn: nat.Conn{Original: nat.TupleOf(proto, client, netip.MustParseAddrPort("10.96.0.1:80")), Reply: nat.TupleOf(proto, server, to)}}
}

func event(kind nat.EventKind, e nat.Entry) nat.Event { return nat.Event{Kind: kind, Entry: e} }

// A pool has whatever takes one of its ports: what was translated to the address, and what the node asks from it; an address that nothing was
// translated to is none.
func TestPools(t *testing.T) {
	t.Parallel()
	var r portuse.Recorder
	a := entry(nat.TCP, "10.0.0.9:40000", "10.244.1.2:8080", "10.0.0.1:7000")
	b := entry(nat.TCP, "10.0.0.9:40001", "10.244.1.3:8080", "10.0.0.1:7000") // the same port, to another endpoint
	own := entry(nat.TCP, "10.0.0.1:50000", "10.244.1.2:8080", "10.0.0.1:50000")
	r.Have(own)
	r.Event(second(2), event(nat.New, a))
	r.Event(second(3), event(nat.New, b))
	r.Event(second(3), event(nat.New, entry(nat.UDP, "10.0.0.9:1024", "10.244.1.2:53", "10.0.0.9:1024"))) // no source was translated
	r.Event(second(4), event(nat.New, entry(89, "10.0.0.9:0", "10.244.1.2:0", "10.0.0.1:0")))             // no ports
	r.Event(second(4), event(nat.Updated, a))
	r.Event(second(6), event(nat.Destroyed, a))
	u := r.Use(second(0), second(10), portuse.Usual)
	require.Len(t, u.Pools, 1)
	p := u.Pools[0]
	require.Equal(t, "tcp 10.0.0.1", p.Protocol.String()+" "+p.Address.String())
	require.Equal(t, []int{3, 3, 2, 2}, []int{p.Connections, p.Peak, p.AtEnd, p.Ports})
	require.Equal(t, second(3), p.PeakAt)
	require.Equal(t, []portuse.Destination{
		{Endpoint: netip.MustParseAddrPort("10.244.1.2:8080"), Connections: 2, Peak: 2, AtEnd: 1},
		{Endpoint: netip.MustParseAddrPort("10.244.1.3:8080"), Connections: 1, Peak: 1, AtEnd: 1},
	}, p.Destinations)
	require.Len(t, p.Leases, 3)
	require.True(t, p.Leases[0].Own)
	require.True(t, p.Leases[0].From.IsZero())
	require.Equal(t, portuse.Lease{
		Port: 7000, Client: netip.MustParseAddrPort("10.0.0.9:40000"), Endpoint: netip.MustParseAddrPort("10.244.1.2:8080"), From: second(2), Until: second(6),
	}, p.Leases[1])
	require.Equal(t, []int{1, 1, 2, 3, 3, 3, 3, 2, 2, 2}, u.Levels(&p, 10))
	require.Equal(t, []int{3}, u.Levels(&p, 1))
}

// What is told of a connection that was not known tells that it was there before.
func TestFromBefore(t *testing.T) {
	t.Parallel()
	var r portuse.Recorder
	a, b := entry(nat.UDP, "10.0.0.9:1", "10.244.1.2:53", "10.0.0.1:7000"), entry(nat.UDP, "10.0.0.9:2", "10.244.1.2:53", "10.0.0.1:7001")
	c := entry(nat.UDP, "10.0.0.9:3", "10.244.1.2:53", "10.0.0.1:7002")
	r.Event(second(1), event(nat.Destroyed, a))
	r.Event(second(2), event(nat.Updated, b))
	r.Event(second(3), event(nat.New, c))
	r.Only(second(5), []nat.Entry{c}) // b ended, and no event told it
	r.Only(second(6), nil)            // of c one will
	p := r.Use(second(0), second(8), portuse.Usual).Pools[0]
	require.Equal(t, []int{3, 2, 1}, []int{p.Connections, p.Peak, p.AtEnd})
	require.Equal(t, []time.Time{{}, {}, second(3)}, []time.Time{p.Leases[0].From, p.Leases[1].From, p.Leases[2].From})
	require.Equal(t, []time.Time{second(1), second(5), {}}, []time.Time{p.Leases[0].Until, p.Leases[1].Until, p.Leases[2].Until})
	d := entry(nat.UDP, "10.0.0.9:4", "10.244.1.2:53", "10.0.0.1:7003")
	r.Last(second(7), []nat.Entry{d})
	last := r.Use(second(0), second(8), portuse.Usual).Pools[0]
	require.Equal(t, []int{4, 1}, []int{last.Connections, last.AtEnd})
	require.Equal(t, []time.Time{second(3), second(7)}, []time.Time{last.Leases[2].From, last.Leases[2].Until})
	require.Equal(t, []time.Time{second(7), {}}, []time.Time{last.Leases[3].From, last.Leases[3].Until})
	require.Equal(t, []bool{false, true, false}, []bool{p.Leases[0].Silent, p.Leases[1].Silent, p.Leases[2].Silent})
}

// A port that is given anew in the moment in which it is free is not counted twice, and zones have ports of their own.
func TestAnew(t *testing.T) {
	t.Parallel()
	var r portuse.Recorder
	a := entry(nat.TCP, "10.0.0.9:1", "10.244.1.2:80", "10.0.0.1:7000")
	other := a
	other.Zone = 5
	r.Event(second(1), event(nat.New, a))
	r.Event(second(2), event(nat.New, other))
	r.Event(second(4), event(nat.Destroyed, a))
	r.Event(second(4), event(nat.New, a))
	u := r.Use(second(0), second(5), portuse.Range{Low: 7000, High: 7000})
	require.Len(t, u.Pools, 2)
	require.Equal(t, []int{2, 1, 1}, []int{u.Pools[0].Connections, u.Pools[0].Peak, u.Pools[0].Destinations[0].Peak})
	require.Equal(t, uint16(5), u.Pools[1].Zone)
	require.Equal(t, 1, u.Range.Size())
	require.Equal(t, 64512, portuse.Usual.Size())
	moment := r.Use(second(5), second(5), portuse.Usual)
	require.Len(t, moment.Levels(&moment.Pools[0], 4), 4)
}
