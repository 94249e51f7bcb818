package live_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/live"
	"natlab/nat/proof"
)

// The packets of these tests: a client outside asks a node port of n1, which has a pod of n2 answer and see n1 as the client.
const (
	asks   = "tcp 192.0.2.1:40000 > 192.0.2.11:30080"
	passes = "tcp 10.1.0.1:1024 > 10.2.0.9:8080" // from n1 to n2
	mid    = "tcp 192.0.2.1:40000 > 10.2.0.9:8080"
)

const (
	syn    = 2
	rst    = 4
	synAck = 18
)

func tuple(s string) nat.Tuple {
	t, err := nat.ParseTuple(s)
	if err != nil {
		panic(err)
	}
	return t
}

func back(s string) string { return tuple(s).Reply().String() }

func at(node string, tap nat.Tap, of string, flags uint8) proof.Observation {
	return proof.Observation{Kind: proof.PacketSeen, Node: node, Hop: nat.Hop{Node: node, Tap: tap, Tuple: tuple(of)}, TCPFlags: flags}
}

// met is a rule of n1 that the first packet meets.
func met(v nat.Verdict) proof.Observation {
	return proof.Observation{Kind: proof.RuleHit, Node: "n1", Step: nat.Step{Node: "n1", Table: "filter", Chain: "FORWARD", Rule: 3, Before: tuple(asks), Verdict: v}}
}

func entry(node, original, reply string, status nat.Status, state string) proof.Observation {
	return proof.Observation{Kind: proof.ConnSeen, Node: node, State: state, Conn: nat.Conn{Node: node, ID: 7, Original: tuple(original), Reply: tuple(reply), Status: status}}
}

func gone(o proof.Observation) proof.Observation {
	o.Gone = true
	return o
}

func failed(node string, tap nat.Tap, about string, kind, code uint8) proof.Observation {
	t := tuple(about)
	o := at(node, tap, fmt.Sprintf("icmp %s:0 > %s:0", t.Dst().Addr(), t.Src().Addr()), 0)
	o.ICMP = proof.ICMP{Type: kind, Code: code, Inside: t}
	return o
}

// request, answer and end are those of a connection through both nodes, namespace by namespace as Drain reads them: that of the pod comes first.
func request() []proof.Observation {
	return []proof.Observation{
		at("n2", nat.TapPreRaw, passes, syn), at("n2", nat.TapPost, passes, syn), entry("n2", passes, back(passes), nat.Confirmed, "SYN_SENT"),
		at("n1", nat.TapPreRaw, asks, syn), at("n1", nat.TapPreNAT, mid, syn), at("n1", nat.TapPost, passes, syn),
		entry("n1", asks, back(passes), nat.Confirmed|nat.SrcNAT|nat.DstNAT, "SYN_SENT"),
	}
}

func answer() []proof.Observation {
	return []proof.Observation{
		at("n2", nat.TapPreRaw, back(passes), synAck), at("n2", nat.TapPost, back(passes), synAck),
		at("n1", nat.TapPreRaw, back(passes), synAck), at("n1", nat.TapPreNAT, back(mid), synAck), at("n1", nat.TapPost, back(asks), synAck),
		entry("n1", asks, back(passes), nat.Confirmed|nat.SrcNAT|nat.DstNAT|nat.SeenReply|nat.Assured, "ESTABLISHED"),
	}
}

func end(state string) []proof.Observation {
	return []proof.Observation{entry("n1", asks, back(passes), nat.Confirmed|nat.SrcNAT|nat.DstNAT|nat.SeenReply|nat.Assured, state)}
}

// moment is a look: what it reads, and when.
type moment struct {
	at   time.Duration
	seen []proof.Observation
}

// told follows moments, each settled at once, and lists what is told: "#1 asks STATE at ENDPOINT nodes".
func told(standing []nat.Conn, moments ...moment) []string {
	f := live.NewFollower(live.Names{})
	f.Standing(standing)
	zero := time.Unix(0, 0)
	var out []string
	for _, m := range moments {
		now := zero.Add(m.at)
		f.Take(m.seen, now)
		if f.Unsettled() {
			f.Take(nil, now)
		}
		for _, one := range f.Tell(now) {
			line := fmt.Sprintf("#%d %s %s", one.Number, one.Source, one.State)
			if one.Again {
				line += " again"
			}
			if one.Endpoint.IsValid() {
				line += fmt.Sprintf(" at %s as %s", one.Endpoint, one.Peer)
			}
			out = append(out, strings.TrimSpace(line+" "+strings.Join(one.Nodes(), " ")))
		}
	}
	return out
}

func TestWhatBecomesOfAFlow(t *testing.T) {
	t.Parallel()
	const ask, whole = "#1 192.0.2.1:40000 ", " at 10.2.0.9:8080 as 10.1.0.1:1024 n1 n2"
	const udp, local = "udp 192.0.2.1:5000 > 192.0.2.11:53", "tcp 192.0.2.11:40000 > 192.0.2.12:80"
	s := time.Second
	for _, row := range []struct {
		name    string
		moments []moment
		want    []string
	}{
		{"closed", []moment{{0, request()}, {s / 10, answer()}, {s / 5, end("TIME_WAIT")}}, []string{ask + "closed" + whole}},
		{"closed in one look", []moment{{0, append(append(request(), answer()...), end("TIME_WAIT")...)}}, []string{ask + "closed" + whole}},
		{"open, and closed later", []moment{{0, request()}, {s / 10, answer()}, {2 * s, nil}, {3 * s, nil}, {4 * s, end("TIME_WAIT")}, {5 * s, nil}}, []string{ask + "open" + whole, ask + "closed again" + whole}},
		{"its entry is gone", []moment{{0, request()}, {s / 10, answer()}, {s / 5, []proof.Observation{gone(end("")[0])}}}, []string{ask + "closed" + whole}},
		{"reset", []moment{{0, request()}, {s / 10, answer()}, {s / 5, end("CLOSE")}}, []string{ask + "reset" + whole}},
		{"reset after its end", []moment{{0, request()}, {s / 10, answer()}, {s / 5, append(end("TIME_WAIT"), append(end("CLOSE"), at("n1", nat.TapPreRaw, asks, rst))...)}}, []string{ask + "closed" + whole}},
		{"unanswered", []moment{{0, request()}, {2 * s, nil}, {4 * s, nil}, {5 * s, nil}}, []string{ask + "unanswered" + whole}},
		{"unanswered, and answered later", []moment{{0, request()}, {4 * s, nil}, {5 * s, answer()}, {6 * s, end("TIME_WAIT")}}, []string{ask + "unanswered" + whole, ask + "closed again" + whole}},
		{"an answer that does not come through", []moment{{0, request()}, {s / 10, answer()[:2]}, {s / 2, nil}, {2 * s, nil}}, []string{ask + "unanswered" + whole}},
		{"refused", []moment{{0, request()}, {s / 10, []proof.Observation{at("n1", nat.TapPost, back(asks), rst)}}}, []string{ask + "refused" + whole}},
		{"rejected", []moment{{0, []proof.Observation{at("n1", nat.TapPreRaw, asks, syn), met(nat.Reject), failed("n1", nat.TapPost, asks, 3, 3)}}}, []string{ask + "rejected n1"}},
		{"unreachable", []moment{{0, []proof.Observation{at("n1", nat.TapPreRaw, asks, syn), failed("n1", nat.TapPost, asks, 3, 1)}}}, []string{ask + "unreachable n1"}},
		{"a better way is no end", []moment{{0, request()}, {s / 10, []proof.Observation{failed("n1", nat.TapPost, asks, 5, 1)}}, {s / 5, answer()}, {s, end("TIME_WAIT")}}, []string{ask + "closed" + whole}},
		{"dropped", []moment{{0, []proof.Observation{met(nat.Drop), at("n1", nat.TapPreRaw, asks, syn)}}}, []string{ask + "dropped n1"}},
		{"a datagram", []moment{{0, []proof.Observation{at("n1", nat.TapPreRaw, udp, 0), at("n1", nat.TapPost, back(udp), 0)}}, {s, []proof.Observation{at("n1", nat.TapPreRaw, udp, 0)}}}, []string{"#1 192.0.2.1:5000 answered at 192.0.2.11:53 as 192.0.2.1:5000 n1"}},
		{"a node's own", []moment{{0, []proof.Observation{at("n1", nat.TapOutRaw, local, syn), at("n1", nat.TapPreRaw, back(local), rst)}}}, []string{"#1 192.0.2.11:40000 refused n1"}},
		{"sent again, dropped again", []moment{{0, []proof.Observation{at("n1", nat.TapPreRaw, asks, syn), met(nat.Drop)}}, {s, []proof.Observation{at("n1", nat.TapPreRaw, asks, syn), met(nat.Drop)}}}, []string{ask + "dropped n1"}},
		{"the same port later", []moment{{0, append(append(request(), answer()...), end("TIME_WAIT")...)}, {s, request()}, {s + s/10, answer()}, {s + s/5, end("TIME_WAIT")}}, []string{ask + "closed" + whole, "#2 192.0.2.1:40000 closed" + whole}},
		{"what was made before", []moment{{0, answer()}, {s, end("TIME_WAIT")}, {5 * s, nil}}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row.want, told(nil, row.moments...))
		})
	}
}

// A flow that comes to its end while its packets are read is told of with what was seen of it in the namespace that is read last.
func TestAFlowIsToldWhole(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	all := slices.Concat(request(), answer(), end("TIME_WAIT"))
	later := func(o proof.Observation) bool { return o.Node == "n2" }
	f := live.NewFollower(live.Names{})
	f.Take(slices.DeleteFunc(slices.Clone(all), later), now)
	f.Take(slices.DeleteFunc(all, func(o proof.Observation) bool { return !later(o) }), now)
	require.Empty(t, f.Tell(now))
	f.Take(nil, now)
	whole := f.Tell(now)
	require.Len(t, whole, 1)
	require.Equal(t, live.Closed, whole[0].State)
	require.Equal(t, []string{"n1", "n2"}, whole[0].Nodes())
}

// What a standing entry translates belongs to its flow, and the answer to what it was made by begins none.
func TestStandingEntries(t *testing.T) {
	const udp, inner = "udp 192.0.2.1:5000 > 192.0.2.11:53", "udp 192.0.2.1:5000 > 10.2.0.9:53"
	standing := []nat.Conn{{Node: "n1", Original: tuple(udp), Reply: tuple(back(inner))}}
	require.Empty(t, told(standing, moment{0, []proof.Observation{at("n1", nat.TapPreRaw, back(inner), 0), at("n1", nat.TapPost, back(udp), 0)}}, moment{10 * time.Second, nil}))
	require.Equal(t, []string{"#1 192.0.2.1:5000 answered at 10.2.0.9:53 as 192.0.2.1:5000 n1 n2"}, told(standing, moment{0, []proof.Observation{
		at("n2", nat.TapPreRaw, inner, 0), at("n1", nat.TapPreRaw, udp, 0), at("n1", nat.TapPost, inner, 0), at("n1", nat.TapPreRaw, back(inner), 0), at("n1", nat.TapPost, back(udp), 0),
	}}))
}

// Without a flow that waits for something there is nothing to wake up for, and what is over is forgotten.
func TestDue(t *testing.T) {
	f, zero := live.NewFollower(live.Names{}), time.Unix(0, 0)
	_, some := f.Due(zero)
	require.False(t, some)
	f.Take(request(), zero)
	require.True(t, f.Unsettled())
	f.Take(nil, zero)
	require.False(t, f.Unsettled())
	require.Empty(t, f.Tell(zero))
	due, some := f.Due(zero)
	require.True(t, some)
	require.Equal(t, 3*time.Second, due.Sub(zero))
	require.Len(t, f.Tell(due), 1)
	due, some = f.Due(due)
	require.True(t, some)
	require.Empty(t, f.Tell(due))
	_, some = f.Due(due)
	require.False(t, some)
}

func TestStates(t *testing.T) {
	for s := live.Unknown; s <= live.Unanswered; s++ {
		text, err := s.MarshalText()
		require.NoError(t, err)
		var again live.State
		require.NoError(t, again.UnmarshalText(text))
		require.Equal(t, s, again)
		require.Equal(t, s == live.Unknown, s.End() == nat.EndUnknown)
	}
	require.ErrorContains(t, new(live.State).UnmarshalText([]byte("gone")), `"gone"`)
}
