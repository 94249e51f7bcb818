package verify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

func TestPortBook(t *testing.T) {
	client, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	at := func(n int) uint16 { return firstPort + uint16(n*stride%(lastPort-firstPort+1)) }
	conn := nat.Conn{
		Original: nat.TupleOf(nat.TCP, netip.AddrPortFrom(client, at(1)), netip.MustParseAddrPort("10.96.0.1:80")),
		Reply:    nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.96.0.1:80"), netip.AddrPortFrom(client, at(4))),
	}
	c := topology.Cluster{Services: []topology.Service{{Ports: []topology.ServicePort{{Port: at(2), NodePort: 30000}}}}}
	b := newPortBook(c, []nat.Conn{conn}, 0)
	var got []uint16
	for range 4 {
		port, err := b.take(nat.TCP, client)
		require.NoError(t, err)
		got = append(got, port)
	}
	assert.Equal(t, []uint16{at(0), at(3), at(5), at(6)}, got, "two stand in conntrack, one is a Service's")
	assert.Greater(t, int(slices.Max(got))-int(slices.Min(got)), (lastPort-firstPort)/2, "a few are spread over the range")

	port, err := b.take(nat.TCP, other)
	require.NoError(t, err)
	assert.Equal(t, at(7), port, "another client goes on where the one before was")

	b = newPortBook(topology.Cluster{}, nil, lastPort-firstPort)
	taken := map[uint16]bool{}
	for range lastPort - firstPort + 1 {
		port, err := b.take(nat.UDP, client)
		require.NoError(t, err)
		require.True(t, port >= firstPort && port <= lastPort, port)
		taken[port] = true
	}
	assert.Len(t, taken, lastPort-firstPort+1, "each once")
	_, err = b.take(nat.UDP, client)
	assert.ErrorContains(t, err, "no source port is left")
}

func by(p float64, endpoint string) nat.Outcome {
	o := nat.Outcome{Probability: p, End: nat.EndAnswered}
	if endpoint != "" {
		o.Endpoint = netip.MustParseAddrPort(endpoint)
	}
	return o
}

func TestAskedUntilEveryEndpointWasSeen(t *testing.T) {
	both := nat.Prediction{by(0.5, "10.0.0.1:1"), by(0.5, "10.0.0.2:1")}
	q := &flowState{intent: both, live: both}
	q.expect(true)
	assert.Equal(t, 2, q.atOnce())
	for range 3 {
		assert.True(t, q.open())
		q.saw(both[0].Endpoint)
	}
	assert.Equal(t, 1, q.atOnce())
	q.saw(both[1].Endpoint)
	assert.False(t, q.open())

	q.expect(true)
	for range 29 {
		q.saw(both[0].Endpoint)
	}
	assert.True(t, q.open(), "one in two hundred million runs of bad luck")
	q.saw(both[0].Endpoint)
	assert.False(t, q.open(), "one in a thousand million: it is never chosen")

	q = &flowState{intent: both, live: nat.Prediction{by(1, "10.0.0.1:1")}}
	q.expect(true)
	q.saw(both[0].Endpoint)
	assert.False(t, q.open(), "what the live rules cannot choose is not waited for")

	q = &flowState{intent: both[:1], live: both[:1], deviation: 0.25}
	q.expect(true)
	q.saw(both[0].Endpoint)
	assert.True(t, q.open(), "the live rules may do something else")
	again := &attempt{flowState: q, stuck: both[0].Endpoint}
	before := q.attempts
	again.saw(both[0].Endpoint)
	again.record(proof.Certificate{Endpoint: both[0].Endpoint, Verdict: proof.Proved})
	require.Equal(t, before, q.attempts, "a client that was served before draws no endpoint")
	q.certs = nil

	q.record(proof.Certificate{Verdict: proof.Disproved})
	assert.False(t, q.open(), "and did")

	q.expect(false)
	q.saw(both[0].Endpoint)
	assert.False(t, q.open(), "the control run is not asked for that")
	q.retries = maxRetries + 1
	assert.False(t, q.open())
}

// Endpoints that serve in turn are asked for by one flow as often as there are endpoints, without another between; one that never served is no proof
// of anything.
func TestEndpointsThatServeInTurn(t *testing.T) {
	t.Parallel()
	both := nat.Prediction{by(0.5, "10.0.0.1:1"), by(0.5, "10.0.0.2:1")}
	q := &flowState{intent: both, live: both, inTurn: true}
	q.expect(true)
	for q.open() {
		assert.Equal(t, 2, q.atOnce())
		q.record(proof.Certificate{Endpoint: both[0].Endpoint, Verdict: proof.Proved})
		q.record(proof.Certificate{Endpoint: both[0].Endpoint, Verdict: proof.Proved})
	}
	q.conclude(proof.Chains{}, false)
	require.Len(t, q.certs, 2)
	assert.Equal(t, proof.Inconclusive, q.certs[1].Verdict)
	assert.Contains(t, q.certs[1].Wrong.Why, "scheduler")
}

// Each of the endpoints that serve in turn has its own attempts that may tell nothing: where those of one are disturbed all along, the other's turn still comes. One that was not seen in them is said to
// be unknown for that.
func TestEndpointsThatServeInTurnOnASlowMachine(t *testing.T) {
	t.Parallel()
	both := nat.Prediction{by(0.5, "10.0.0.1:1"), by(0.5, "10.0.0.2:1")}
	turns, drawn := &flowState{intent: both, live: both, inTurn: true}, &flowState{intent: both, live: both}
	for q, rounds := range map[*flowState]int{turns: maxRetries + 1, drawn: maxRetries/2 + 1} {
		q.expect(true)
		n := 0
		for ; q.open(); n++ {
			q.retries += len(both)
		}
		assert.Equal(t, rounds, n)
		q.conclude(proof.Chains{}, false)
		require.Len(t, q.certs, 2)
		for _, c := range q.certs {
			assert.Equal(t, proof.Inconclusive, c.Verdict)
			assert.Equal(t, disturbed, c.Wrong.Why)
		}
	}
}

// A flow of which packet after packet goes nowhere is not asked on and on for its endpoints, and why is told once.
func TestAFlowThatGoesNowhereIsAskedAFewTimes(t *testing.T) {
	both := nat.Prediction{by(0.5, "10.0.0.1:1"), by(0.5, "10.0.0.2:1")}
	q := &flowState{intent: both, live: both}
	q.expect(true)
	for range maxVain {
		assert.True(t, q.open())
		q.record(proof.Certificate{Verdict: proof.Disproved, Wrong: &proof.Wrong{Check: "ends"}, Tries: 1})
	}
	assert.False(t, q.open())
	q.conclude(proof.Chains{}, false)
	require.Len(t, q.certs, 1, "no endpoint was never chosen")
	assert.Equal(t, maxVain, q.certs[0].Tries)
	q.expect(true)
	assert.True(t, q.open())
}

func TestTheWorstCertificateOfAnEndpointStays(t *testing.T) {
	q := &flowState{}
	q.expect(true)
	for _, v := range []proof.Outcome{proof.Proved, proof.Disproved, proof.Inconclusive, proof.Proved} {
		q.record(proof.Certificate{Verdict: v, Tries: 1})
	}
	require.Len(t, q.certs, 1)
	assert.Equal(t, proof.Disproved, q.certs[0].Verdict)
	assert.Equal(t, 4, q.certs[0].Tries)
}

func TestBatches(t *testing.T) {
	fine := &flowState{live: nat.Prediction{by(1, "10.0.0.1:1")}}
	lost := &flowState{live: nat.Prediction{{End: nat.EndLost, Probability: 1}}}
	again := &flowState{live: fine.live, retries: 1}
	icmp, err := nat.ParseTuple("icmp 10.0.0.1:0 > 10.0.0.2:0")
	require.NoError(t, err)
	turns := &flowState{live: fine.live, inTurn: true, attempts: 1}
	refused := &flowState{live: nat.Prediction{{End: nat.EndRejected, Probability: 1, Reply: nat.Journey{Hops: []nat.Hop{{Tuple: icmp}}}}}}
	rows := []struct {
		name string
		n    int
		of   *flowState
		want []int
	}{
		{"full ones", batchSize + 1, fine, []int{batchSize, 1}},
		{"quiet ones", quietSize + 1, again, []int{quietSize, 1}},
		{"lost ones", 2, lost, []int{2}},
		{"endpoints that serve in turn", 2, turns, []int{1, 1}},
		{"ICMP errors that look alike", 3, refused, []int{1, 1, 1}},
	}
	var all []*attempt
	for _, row := range rows {
		var attempts []*attempt
		for range row.n {
			attempts = append(attempts, &attempt{flowState: row.of, live: row.of.live})
		}
		all = append(all, attempts...)
		var got []int
		for _, b := range batches(attempts) {
			got = append(got, len(b))
		}
		assert.Equal(t, row.want, got, row.name)
	}
	n := 0
	for _, b := range batches(all) {
		n += len(b)
		for _, t2 := range b {
			assert.Equal(t, loses(b[0].live), loses(t2.live), "patient and lost ones are apart")
		}
	}
	assert.Len(t, all, n)
}

// A flow is asked once in a moment of a control run; what comes of it later the watched run tells.
func TestAFlowThatIsNotAnsweredInTheControlRunIsGivenUp(t *testing.T) {
	both := nat.Prediction{by(0.5, "10.0.0.1:1"), by(0.5, "10.0.0.2:1")}
	lost := nat.Prediction{{End: nat.EndLost, Probability: 1}}
	elsewhere := nat.Prediction{by(0.5, "10.0.0.1:1"), {End: nat.EndLost, Probability: 0.5, Endpoint: netip.MustParseAddrPort("10.0.0.2:1")}}
	for _, row := range []struct {
		name         string
		intent, live nat.Prediction
		overdue      bool
		crowded      bool
		patience     time.Duration
		open         bool
		controls     int
	}{
		{"answered", both, both, false, false, controlPatience, true, 1},
		{"late or lost", both, both, true, false, controlPatience, false, 0},
		{"late or lost, asked with patience", both, both, true, false, controlPatient, false, 1},
		{"answered where the machine drops packets", both, both, false, true, controlPatient, true, 1},
		{"lost where the machine drops packets", both, both, true, true, controlPatient, true, 0},
		{"lost, as it has to be, where the machine drops packets", lost, lost, true, true, controlPatient, false, 1},
		{"lost by the live rules", both, lost, true, false, controlPatience, false, 0},
		{"lost, as it has to be", lost, lost, true, false, controlPatience, false, 1},
		{"late or lost, and it might have been lost elsewhere", elsewhere, elsewhere, true, false, controlPatience, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			q := &flowState{intent: row.intent, live: row.live}
			q.expect(false)
			v := &verification{driver: driver{patient: row.patience}, discarded: map[string]int{}}
			a := &attempt{flowState: q, intent: row.intent, live: row.live, overdue: row.overdue, ends: proof.Ends{End: nat.EndLost}}
			a.probe.Tuple = nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.0.0.9:1"), netip.MustParseAddrPort("10.96.0.1:1"))
			v.noteControl([]*attempt{a}, cameTo(a.probe.Tuple, "10.0.0.1:1"), row.crowded)
			assert.Equal(t, row.open, q.open())
			assert.Len(t, q.controls, row.controls)
			for range maxRetries {
				v.noteControl([]*attempt{a}, nil, row.crowded)
			}
			assert.False(t, row.overdue && q.open(), "the machine's trouble does not end, and no control is had")
		})
	}
}

// A client whose own stack does not find the next hop in time is no control: where the watched run sees it answered it is asked again with patience, and where it goes on none is had.
func TestAControlThatTheNextHopWasNotFoundFor(t *testing.T) {
	both := nat.Prediction{by(0.5, "10.0.0.1:1"), by(0.5, "10.0.0.2:1")}
	unreachable := nat.Prediction{{End: nat.EndUnreachable, Probability: 1}}
	for _, row := range []struct {
		name         string
		intent, live nat.Prediction
		controls     int
	}{
		{"though it should be answered", both, both, 0},
		{"as the live rules have it", both, unreachable, maxRetries + 1},
		{"as it has to be", unreachable, unreachable, maxRetries + 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			q := &flowState{intent: row.intent, live: row.live}
			q.expect(false)
			v := &verification{driver: driver{patient: controlPatience}, discarded: map[string]int{}}
			a := &attempt{flowState: q, intent: row.intent, live: row.live, ends: proof.Ends{End: nat.EndUnreachable}}
			a.probe.Tuple = nat.TupleOf(nat.UDP, netip.MustParseAddrPort("10.0.0.9:1"), netip.MustParseAddrPort("10.96.0.1:1"))
			v.noteControl([]*attempt{a}, nil, false)
			assert.Equal(t, row.controls == 0, q.givenUp, "the watched run tells more")

			q.expect(false)
			q.controls, v.driver.patient = nil, controlPatient
			for range maxRetries {
				v.noteControl([]*attempt{a}, nil, false)
			}
			assert.Equal(t, row.controls == 0, q.open() && len(q.controls) == 0, "it is asked again")
			v.noteControl([]*attempt{a}, nil, false)
			assert.Len(t, q.controls, row.controls)
			assert.False(t, row.controls == 0 && q.open(), "and not for ever")
			assert.Equal(t, maxRetries+1-row.controls, v.discarded[noNeighbour])
		})
	}
}

// What events tell of a control run of which some were lost is no control: it is asked again.
func TestAControlOfWhichEventsWereLost(t *testing.T) {
	q := &flowState{intent: nat.Prediction{by(1, "10.0.0.1:1")}, live: nat.Prediction{by(1, "10.0.0.1:1")}}
	q.expect(false)
	v := &verification{driver: driver{patient: controlPatience}, discarded: map[string]int{}}
	a := &attempt{flowState: q, intent: q.intent, live: q.live, ends: proof.Ends{End: nat.EndLost}}
	w := &controller{verification: v}
	for n, lost := range []uint64{2, 2, 5} {
		w.note([]*attempt{a}, nil, false, lost)
		assert.Len(t, q.controls, min(n, 1))
	}
	assert.Equal(t, map[string]int{eventsLost: 2}, v.discarded)
}

// cameTo is what connection tracking tells of a try that was translated to an endpoint.
func cameTo(t nat.Tuple, endpoint string) []proof.Observation {
	reply := t.WithDst(netip.MustParseAddrPort(endpoint)).Reply()
	return []proof.Observation{{Kind: proof.ConnSeen, Node: "n", Conn: nat.Conn{Node: "n", Original: t, Reply: reply}, ConnID: 1}}
}

// A control run waits for a flow that may be answered, where it waits at all.
func TestPatienceOfAControlRun(t *testing.T) {
	mixed := nat.Prediction{by(0.5, "10.0.0.1:1"), {End: nat.EndLost, Probability: 0.5}}
	for _, row := range []struct {
		live           nat.Prediction
		patience, want time.Duration
	}{
		{nat.Prediction{by(1, "10.0.0.1:1")}, controlPatience, controlPatience},
		{nat.Prediction{{End: nat.EndLost, Probability: 1}}, controlPatient, controlMoment},
		{mixed, controlPatience, controlMoment},
		{mixed, controlPatient, controlPatient},
	} {
		d := driver{patient: row.patience}
		assert.Equal(t, row.want, d.patience(&attempt{flowState: &flowState{live: row.live}, live: row.live}), "%v", row)
	}
}

func TestLooks(t *testing.T) {
	var l looks
	for _, row := range []struct {
		last        uint64
		idle        bool
		quiet, quit int
	}{
		{1, false, 0, 0}, {1, false, 1, 0}, {1, true, 2, 1}, {1, true, 3, 2}, {1, false, 4, 0}, {1, true, 5, 1}, {2, true, 0, 0}, {2, true, 1, 1},
	} {
		l.look(row.last, row.idle)
		assert.Equal(t, looks{last: row.last, quiet: row.quiet, idle: row.quit}, l)
	}
}

// What a process has in hand the kernel does not know of.
func TestHeld(t *testing.T) {
	hop := func(node string, tap nat.Tap, dev, tuple, outer string) nat.Hop {
		h := nat.Hop{Node: node, Tap: tap, Dev: dev}
		var err error
		h.Tuple, err = nat.ParseTuple(tuple)
		require.NoError(t, err)
		if outer != "" {
			h.Outer, err = nat.ParseTuple(outer)
			require.NoError(t, err)
		}
		return h
	}
	const udp, tcp, around = "udp 10.0.0.1:9 > 10.0.0.2:53", "tcp 10.0.0.1:9 > 10.0.0.2:53", "ipip 192.168.0.1:0 > 192.168.0.2:0"
	user := driver{
		tunnels: map[string]bool{"a tunl0": true, "b tunl0": true},
		servers: []topology.Server{{Member: "pod", Proto: "udp", Addr: netip.MustParseAddrPort("10.0.0.2:53")}},
	}
	kernel := driver{servers: user.servers}
	for _, row := range []struct {
		name         string
		hop          nat.Hop
		user, kernel bool
	}{
		{"into a tunnel", hop("a", nat.TapPost, "tunl0", tcp, ""), true, false},
		{"out of a tunnel's process", hop("a", nat.TapOutRaw, "eth0", tcp, around), false, false},
		{"at the tunnel's other end", hop("b", nat.TapPreNAT, "eth0", tcp, around), true, false},
		{"out of the tunnel", hop("b", nat.TapPreRaw, "tunl0", tcp, ""), false, false},
		{"at a server of datagrams", hop("pod", nat.TapPreNAT, "eth0", udp, ""), true, true},
		{"at a server of connections, for which the kernel answers", hop("pod", nat.TapPreNAT, "eth0", tcp, ""), false, false},
		{"from a server", hop("pod", nat.TapOutRaw, "eth0", "udp 10.0.0.2:53 > 10.0.0.1:9", ""), false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			assert.Equal(t, row.user, user.held(row.hop))
			assert.Equal(t, row.kernel, kernel.held(row.hop))
		})
	}
}

func TestRepeated(t *testing.T) {
	assert.Empty(t, repeated(nil))
	assert.Equal(t, []string{"1 attempt was repeated: a packet was sent twice"}, repeated(map[string]int{"a packet was sent twice": 1}))
	assert.Equal(t, []string{"2 attempts were repeated: a packet was sent twice"}, repeated(map[string]int{"a packet was sent twice": 2}))
	assert.Equal(t, []string{"3 attempts were repeated: a packet was sent twice (2), events were lost (1)"},
		repeated(map[string]int{"events were lost": 1, "a packet was sent twice": 2}))
}

// A flow is finished when nothing is left to ask with taps; what the control run asked is only half of it.
func TestFinished(t *testing.T) {
	one := nat.Prediction{by(1, "10.0.0.1:1")}
	q := &flowState{intent: one, live: one}
	assert.False(t, q.finished(), "nothing was asked")
	q.expect(false)
	q.saw(one[0].Endpoint)
	assert.False(t, q.open())
	assert.False(t, q.finished(), "asked without taps only")
	q.expect(true)
	assert.False(t, q.finished())
	q.saw(one[0].Endpoint)
	assert.True(t, q.finished())
}

func TestProgress(t *testing.T) {
	one := nat.Prediction{by(1, "10.0.0.1:1")}
	flows := []*flowState{{intent: one, live: one}, {intent: one, live: one}}
	for _, q := range flows {
		q.expect(true)
	}
	var told []string
	v := &verification{step: "asking with taps", tell: func(step string, done, total int) {
		told = append(told, fmt.Sprintf("%s %d/%d", step, done, total))
	}}
	v.progress(flows)
	flows[1].saw(one[0].Endpoint)
	v.progress(flows)
	assert.Equal(t, []string{"asking with taps 0/2", "asking with taps 1/2"}, told)
}

func TestEndedBy(t *testing.T) {
	over, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	<-over.Done()
	interrupted, stop := context.WithCancel(t.Context())
	stop()
	for _, row := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{t.Context(), nil, ""},
		{interrupted, nil, ""},
		{t.Context(), errEnough, "ended at the first that is disproved"},
		{over, over.Err(), "the time was over"},
		{interrupted, fmt.Errorf("watch vms100: %w", interrupted.Err()), "interrupted"},
		{t.Context(), errors.New("no such device"), ""},
	} {
		assert.Equal(t, row.want, endedBy(row.ctx, row.err), "%v", row.err)
	}
}

// A packet that was lost while the machine dropped packets tells nothing: it is asked for again, and never disproves its flow.
func TestALossWhileTheMachineDropsPackets(t *testing.T) {
	const lack = "the machine's neighbours (net.ipv4.neigh.default.gc_thresh3)"
	answered := nat.Prediction{by(1, "10.0.0.1:1")}
	for _, row := range []struct {
		name     string
		live     nat.Prediction
		troubles map[string][]string
		repeated map[string]int
		verdict  proof.Outcome
	}{
		{"room for all", answered, nil, map[string]int{lostOnce: 1}, proof.Disproved},
		{"no room for a neighbour", answered, map[string][]string{ofMachine: {lack}}, map[string]int{droppedElsewhere: maxRetries + 1}, proof.Inconclusive},
		{"no room, and a rule that drops it", nat.Prediction{{Probability: 1, End: nat.EndLost}}, map[string][]string{ofMachine: {lack}}, map[string]int{}, proof.Disproved},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := &verification{meter: proof.Meter{}, discarded: map[string]int{}, rules: nodeRules{}}
			q := &flowState{intent: answered, live: row.live}
			for len(q.certs) == 0 {
				v.certify([]*attempt{{flowState: q, intent: answered, live: row.live, lost: true, ends: proof.Ends{End: nat.EndLost}}}, batchRecord{Troubles: row.troubles})
			}
			assert.Equal(t, row.verdict, q.certs[0].Verdict)
			assert.Equal(t, row.repeated, v.discarded)
			if row.verdict == proof.Inconclusive {
				assert.Contains(t, fmt.Sprint(q.certs[0].Checks), lack)
			}
		})
	}
}

// An attempt's predictions become those of its source port when it is made, and stay one where they were; the flow's stay as they are.
func TestBind(t *testing.T) {
	t.Parallel()
	at := func(port uint16) nat.Tuple {
		return nat.TupleOf(nat.TCP, netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), port), netip.MustParseAddrPort("10.96.0.1:80"))
	}
	predicted := func() nat.Prediction {
		o := by(1, "10.0.0.1:1")
		o.Request.Hops = []nat.Hop{{Node: "a", Tuple: at(predictedPort)}}
		return nat.Prediction{o}
	}
	one, other := predicted(), predicted()
	for _, live := range []nat.Prediction{one, other} {
		q := &flowState{intent: one, live: live}
		a := &attempt{flowState: q, intent: q.intent, live: q.live, bound: predictedPort, probe: nat.Probe{Tuple: at(40000)}}
		for _, port := range []uint16{40000, 40000, 50000} { // again, and where that port was taken
			a.probe.Tuple = at(port)
			a.bind()
			require.Equal(t, at(port), a.intent[0].Request.Hops[0].Tuple)
			require.Equal(t, at(port), a.live[0].Request.Hops[0].Tuple)
			require.Equal(t, live.Is(one), a.live.Is(a.intent))
		}
		require.Equal(t, at(predictedPort), q.intent[0].Request.Hops[0].Tuple)
	}
}
