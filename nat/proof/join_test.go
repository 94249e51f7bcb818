package proof

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// TestJoinPicksEachTrysOwn runs the fixture's flow from three ports at once, with everything that the witnesses
// report in one heap, and wants each try to get what it gets alone.
func TestJoinPicksEachTrysOwn(t *testing.T) {
	ports := []uint16{40000, 40001, 51999}
	var tries []nat.Probe
	var heap []Observation
	var alone [][]Observation
	for i, port := range ports {
		o := Rebind(nat.Prediction{answered()}, 40000, port)[0]
		tries = append(tries, nat.Probe{From: "outside", Tuple: o.Request.Hops[0].Tuple})
		seen := observe(o)
		for j := range seen { // chance decides another port for each
			seen[j] = withPort(seen[j], seenPort, seenPort+uint16(i))
		}
		alone = append(alone, seen)
	}
	for i := range alone[0] {
		for _, seen := range alone {
			heap = append(heap, seen[i])
		}
	}
	got := Join(tries, heap)
	for i := range tries {
		want := Join(tries[i:i+1], alone[i])[0]
		assert.Equal(t, want, got[i])
		assert.Len(t, got[i].Request.Hops, len(requestHops()))
		assert.Len(t, got[i].Reply.Steps, len(replySteps()))
		assert.Len(t, got[i].Conns, 2)
		assert.False(t, got[i].Repeated || got[i].Mixed)
	}
}

func withPort(o Observation, from, to uint16) Observation {
	r := rebind{from, to}
	o.Hop.Tuple, o.Step.Before = r.tuple(o.Hop.Tuple), r.tuple(o.Step.Before)
	o.Conn.Original, o.Conn.Reply = r.tuple(o.Conn.Original), r.tuple(o.Conn.Reply)
	return o
}

func TestJoinByTheNumberOfThePacket(t *testing.T) {
	probe := nat.Probe{From: "outside", Tuple: tuple(asks)}
	known := Observation{Kind: RuleHit, Node: "vms100", TraceID: 7, Step: requestSteps()[0]}
	bare := Observation{Kind: RuleHit, Node: "vms100", TraceID: 7, Step: requestSteps()[1]}
	bare.Step.Before = nat.Tuple{}
	elsewhere := bare
	elsewhere.Node = "vms101"
	got := Join([]nat.Probe{probe}, []Observation{bare, known, elsewhere})[0]
	require.Len(t, got.Request.Steps, 2)
	assert.Equal(t, "KUBE-SERVICES", got.Request.Steps[0].Chain, "in the order of the kernel")
}

func TestJoinGivesAnErrorToThePacketInsideIt(t *testing.T) {
	probe := nat.Probe{From: "outside", Tuple: tuple("udp 192.168.26.1:40000 > 192.168.26.100:30053")}
	error1 := tuple("icmp 192.168.26.100:0 > 192.168.26.1:0")
	seen := []Observation{
		{Kind: PacketSeen, Node: "vms100", Hop: nat.Hop{Node: "vms100", Tap: nat.TapOutRaw, Tuple: error1}, ICMP: ICMP{3, 3, probe.Tuple}},
		{Kind: RuleHit, Node: "vms100", Step: nat.Step{Node: "vms100", Hook: nat.Output, Chain: "OUTPUT", Before: error1}},
	}
	got := Join([]nat.Probe{probe}, seen)[0]
	assert.Len(t, got.Reply.Hops, 1)
	assert.Len(t, got.Reply.Steps, 1)
	assert.Equal(t, []ICMP{{3, 3, probe.Tuple}}, got.Errors)

	two := []nat.Probe{probe, {From: "outside", Tuple: probe.Tuple.WithSrc(netip.MustParseAddrPort("192.168.26.1:40001"))}}
	seen = append(seen, seen[0])
	seen[2].ICMP.Inside = two[1].Tuple
	for _, s := range Join(two, seen) {
		assert.False(t, s.Mixed)
		assert.Len(t, s.Reply.Hops, 1)
		assert.Equal(t, []nat.Tuple{error1}, s.Shared, "whose error a rule saw cannot be told")
		assert.Empty(t, s.Reply.Steps)
	}
}

// An ICMP error that was on its way for longer than its own try lasted meets rules by a tuple that one of this try has too.
func TestALateErrorOfAnotherTryIsTold(t *testing.T) {
	probe := nat.Probe{From: "outside", Tuple: tuple("udp 192.168.26.1:40000 > 192.168.26.100:30053")}
	err := tuple("icmp 192.168.26.100:0 > 192.168.26.1:0")
	of := func(inside nat.Tuple) Observation {
		return Observation{Kind: PacketSeen, Node: "vms100", Hop: nat.Hop{Node: "vms100", Tap: nat.TapOutRaw, Tuple: err}, ICMP: ICMP{3, 3, inside}}
	}
	mine, late := of(probe.Tuple), of(probe.Tuple.WithSrc(netip.MustParseAddrPort("192.168.26.1:39999")))
	rule := Observation{Kind: RuleHit, Node: "vms100", Step: nat.Step{Node: "vms100", Hook: nat.Output, Chain: "OUTPUT", Before: err}, TraceID: 1}
	next := Observation{Kind: RuleHit, Node: "vms100", Step: nat.Step{Node: "vms100", Hook: nat.Output, Chain: "OUTPUT", Rule: 1}, TraceID: 1}
	for _, row := range []struct {
		seen        []Observation
		hops, steps int
		shared      []nat.Tuple
	}{
		{[]Observation{mine, mine}, 2, 2, nil},
		{[]Observation{late, late}, 0, 0, nil}, // the try has no error
		{[]Observation{mine, late, late}, 1, 0, []nat.Tuple{err}},
		{[]Observation{late, mine, mine}, 2, 0, []nat.Tuple{err}},
	} {
		got := Join([]nat.Probe{probe}, append(row.seen, rule, next))[0]
		assert.False(t, got.Mixed)
		assert.Len(t, got.Reply.Hops, row.hops)
		assert.Len(t, got.Reply.Steps, row.steps)
		assert.Equal(t, row.shared, got.Shared)
	}
}

func TestJoinLeavesOutStrangersAndSetsAsideStrays(t *testing.T) {
	probe := nat.Probe{From: "outside", Tuple: tuple(asks)}
	reset := Observation{Kind: PacketSeen, TCPFlags: tcpRST, Hop: hop("outside", nat.TapOutRaw, "eth0", "tcp 192.168.26.1:40000 > 10.244.169.89:9090", 0)}
	stranger := Observation{Kind: PacketSeen, TCPFlags: tcpSYN, Hop: hop("vms100", nat.TapPreRaw, "ens32", "tcp 192.168.26.9:40000 > 192.168.26.100:30450", 0)}
	got := Join([]nat.Probe{probe}, []Observation{reset, stranger})[0]
	assert.Equal(t, []nat.Hop{reset.Hop}, got.Stray)
	assert.Empty(t, slices.Concat(got.Request.Hops, got.Reply.Hops))
}

// A node's VXLAN packet has any source port, also that of the node's own datagram, and is no packet of its flow.
func TestATunnelsPacketIsNotItsNodesOwn(t *testing.T) {
	probe := nat.Probe{From: "vms100", Tuple: tuple("udp 192.168.26.100:39912 > 192.168.26.103:30053")}
	outer := tuple("udp 192.168.26.100:39912 > 192.168.26.101:4789")
	seen := []Observation{
		{Kind: ConnSeen, Node: "vms100", Conn: nat.Conn{Node: "vms100", ID: 1, Original: outer, Reply: outer.Reply()}},
		{Kind: RuleHit, Node: "vms100", Step: nat.Step{Node: "vms100", Hook: nat.Output, Chain: "OUTPUT", Before: outer}},
	}
	s := Join([]nat.Probe{probe}, seen)[0]
	assert.Empty(t, s.Conns)
	assert.Empty(t, s.Request.Steps)
	probe.Tuple = outer // who asks that very port is told of it
	assert.Len(t, Join([]nat.Probe{probe}, seen)[0].Conns, 1)
}

func TestConnectionsKeepEveryStatusBit(t *testing.T) {
	probe := nat.Probe{From: "outside", Tuple: tuple(asks)}
	c := fixtureConns()[0]
	gone := c
	gone.Status, gone.Mark = 0, 0
	c.Mark = 5
	got := Join([]nat.Probe{probe}, []Observation{
		{Kind: ConnSeen, Node: c.Node, Conn: c}, {Kind: ConnSeen, Node: c.Node, Conn: gone, Gone: true},
	})[0]
	require.Len(t, got.Conns, 1)
	assert.Equal(t, c, got.Conns[0])
}

func TestRebindTouchesNoOtherPort(t *testing.T) {
	p := nat.Prediction{answered()}
	q := Rebind(Rebind(p, 40000, 41111), 41111, 40000)
	assert.Equal(t, p, q)
	assert.NotEqual(t, p, Rebind(p, 40000, 41111))
	assert.Equal(t, answered(), p[0], "the first one is left as it is")
}

func TestAnOlderEntryThatGoesIsNoneOfTheTrys(t *testing.T) {
	probe := nat.Probe{From: "outside", Tuple: tuple(asks)}
	c := fixtureConns()[0]
	c.ID = 2
	old := c
	old.ID, old.Status = 1, ^old.Status
	old.Reply = tuple(back(dnated))
	gone := Observation{Kind: ConnSeen, Node: c.Node, Conn: old, Gone: true}
	for _, seen := range [][]Observation{
		{gone, {Kind: ConnSeen, Node: c.Node, Conn: c}},
		{{Kind: ConnSeen, Node: c.Node, Conn: c}, gone},
	} {
		assert.Equal(t, []nat.Conn{c}, Join([]nat.Probe{probe}, seen)[0].Conns)
	}
	assert.Empty(t, Join([]nat.Probe{probe}, []Observation{gone})[0].Conns)
}

// The packets of a TCP connection behind its first and the answer, and the rules that they meet, are kept apart, and so are the
// ICMP errors that tell of an MTU.
func TestLaterPacketsAreKeptApart(t *testing.T) {
	probe := nat.Probe{From: "outside", Tuple: tuple(asks)}
	see := func(tuple nat.Tuple, flags uint8) Observation {
		return Observation{Kind: PacketSeen, Node: "vms100", Hop: nat.Hop{Node: "vms100", Tap: nat.TapPreRaw, Tuple: tuple}, TCPFlags: flags}
	}
	hit := func(rule int, tuple nat.Tuple, flags uint8) Observation {
		return Observation{Kind: RuleHit, Node: "vms100", TCPFlags: flags, Step: nat.Step{Node: "vms100", Rule: rule, Before: tuple}}
	}
	tooLong := see(nat.TupleOf(nat.ICMP, netip.MustParseAddrPort("192.168.26.100:0"), netip.MustParseAddrPort("192.168.26.1:0")), 0)
	tooLong.ICMP = ICMP{Type: 3, Code: 4, Inside: probe.Tuple}
	const psh, fin = 8, 1
	s := Join([]nat.Probe{probe}, []Observation{
		hit(1, probe.Tuple, tcpSYN), see(probe.Tuple, tcpSYN),
		hit(2, probe.Tuple.Reply(), tcpSYN|tcpACK), see(probe.Tuple.Reply(), tcpSYN|tcpACK),
		hit(3, probe.Tuple, psh|tcpACK), see(probe.Tuple, psh|tcpACK), tooLong,
		hit(4, probe.Tuple.Reply(), fin|tcpACK), see(probe.Tuple.Reply(), fin|tcpACK),
		hit(6, probe.Tuple, tcpRST), see(probe.Tuple, tcpRST), // against an answer that the client does not know
		hit(5, probe.Tuple.Reply(), 0), // of a kernel that does not tell of flags
	})[0]
	rules := func(t nat.Trace) (out []int) {
		for _, s := range t {
			out = append(out, s.Rule)
		}
		return out
	}
	require.Equal(t, [3][]int{{1}, {2, 5}, {3, 4, 6}}, [3][]int{rules(s.Request.Steps), rules(s.Reply.Steps), rules(s.Later)})
	require.Len(t, s.Request.Hops, 1)
	require.Len(t, s.Reply.Hops, 1)
	require.Len(t, s.Stray, 4)
	require.Empty(t, s.Errors)
}

// A masquerade as a node's address may draw the port that the node's own client has in another try: whose a packet from there is cannot be told.
func TestAMasqueradeThatDrawsAnotherTrysPortMixes(t *testing.T) {
	pod := nat.Probe{From: "default/a", Tuple: tuple("tcp 10.1.0.5:40000 > 192.168.26.105:30450")}
	node := nat.Probe{From: "vms103", Tuple: tuple("tcp 192.168.26.103:38663 > 192.168.26.102:30450")}
	drawn := func(port string) []Observation {
		return []Observation{{Kind: ConnSeen, Node: "vms103", Conn: nat.Conn{Node: "vms103", Original: pod.Tuple, Reply: tuple("tcp 192.168.26.105:30450 > 192.168.26.103:" + port)}}}
	}
	for _, s := range Join([]nat.Probe{pod, node}, drawn("38663")) {
		assert.True(t, s.Mixed)
	}
	for _, s := range Join([]nat.Probe{pod, node}, drawn("38664")) {
		assert.False(t, s.Mixed)
	}
}
