package verify

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

func TestPortBook(t *testing.T) {
	client, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	conn := func(s string) nat.Conn {
		tuple, err := nat.ParseTuple(s)
		require.NoError(t, err)
		return nat.Conn{Original: tuple, Reply: tuple.Reply().WithDst(netip.MustParseAddrPort("10.0.0.1:10005"))}
	}
	c := topology.Cluster{Services: []topology.Service{{Ports: []topology.ServicePort{{Port: 10003, NodePort: 30000}}}}}
	b := newPortBook(c, []nat.Conn{conn("tcp 10.0.0.1:10002 > 10.96.0.1:80")}, 0)
	var got []uint16
	for range 4 {
		port, err := b.take(nat.TCP, client)
		require.NoError(t, err)
		got = append(got, port)
	}
	assert.Equal(t, []uint16{10001, 10004, 10006, 10007}, got, "10002 and 10005 stand in conntrack, 10003 is a Service's")

	port, err := b.take(nat.TCP, other)
	require.NoError(t, err)
	assert.EqualValues(t, 10001, port, "another client has ports of its own")

	b = newPortBook(topology.Cluster{}, nil, lastPort-firstPort)
	for _, want := range []uint16{lastPort, firstPort, firstPort + 1} {
		port, err := b.take(nat.UDP, client)
		require.NoError(t, err)
		assert.Equal(t, want, port, "round the end")
	}
	for range lastPort - firstPort - 2 {
		port, err = b.take(nat.UDP, client)
		require.NoError(t, err)
		require.NotEqualValues(t, predictedPort, port)
	}
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
	q.record(proof.Certificate{Verdict: proof.Disproved})
	assert.False(t, q.open(), "and did")

	q.expect(false)
	q.saw(both[0].Endpoint)
	assert.False(t, q.open(), "the control run is not asked for that")
	q.retries = maxRetries + 1
	assert.False(t, q.open())
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
