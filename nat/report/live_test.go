package report_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/live"
	"natlab/nat/report"
)

func TestLive(t *testing.T) {
	tuple := func(s string) nat.Tuple {
		out, err := nat.ParseTuple(s)
		require.NoError(t, err)
		return out
	}
	asks, passes := tuple("tcp 192.0.2.1:40000 > 192.0.2.11:30080"), tuple("tcp 10.1.0.1:1024 > 10.2.0.9:8080")
	flow := live.Flow{
		Number: 4, Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Took: 1600 * time.Millisecond, State: live.Closed, Service: "shop/web:http", Client: "outside",
		Protocol: nat.TCP, Source: asks.Src(), Target: asks.Dst(), Endpoint: passes.Dst(), Server: "shop/web-1", Peer: passes.Src(),
		Request: nat.Journey{
			Hops: []nat.Hop{{Node: "n1", Tap: nat.TapPreRaw, Dev: "eth0", Tuple: asks}, {Node: "n1", Tap: nat.TapPost, Dev: "tunl0", Tuple: passes}, {Node: "n2", Tap: nat.TapPreRaw, Tuple: passes}},
			Steps: nat.Trace{
				{Node: "n1", Hook: nat.PreRouting, Table: "nat", Chain: "PREROUTING", Rule: 1, Verdict: nat.Jump, Before: asks},
				{Node: "n1", Hook: nat.PreRouting, Table: "nat", Chain: "KUBE-SERVICES", Rule: 2, Verdict: nat.Accept, Met: nat.Met{Target: "DNAT"}, Before: asks},
			},
		},
		Conns: []nat.Conn{{Node: "n1", Original: asks, Reply: passes.Reply(), Status: nat.Confirmed | nat.SeenReply}},
		Notes: []string{"something else"},
	}
	text := func(f live.Flow, d report.Detail) string {
		var b strings.Builder
		require.NoError(t, report.Live(&b, f, d, report.Style{}))
		return b.String()
	}
	require.Equal(t, `03:04:06.600 #4  outside 192.0.2.1:40000 -> 192.0.2.11:30080 tcp (shop/web:http)  closed, answered by shop/web-1 at 10.2.0.9:8080 after 1.6s
    n1                   PREROUTING → KUBE-SERVICES → DNAT
                         entry tcp 192.0.2.1:40000 > 192.0.2.11:30080, reply tcp 10.2.0.9:8080 > 10.1.0.1:1024  DNAT to 10.2.0.9:8080, SNAT to 10.1.0.1:1024  SEEN_REPLY|CONFIRMED
    n2                   passed, no rule, no entry
    note: something else
`, text(flow, report.Brief))
	drawn := text(flow, report.DrawAll)
	require.Contains(t, drawn, "out tunl0           «10.1.0.1:1024» > «10.2.0.9:8080»")
	require.Contains(t, drawn, "● shop/web-1 answers at 10.2.0.9:8080")
	for _, row := range []struct {
		name   string
		change func(*live.Flow)
		want   string
	}{
		{"told again", func(f *live.Flow) { f.Again = true }, "03:04:06.600 #4  closed, answered by shop/web-1 at 10.2.0.9:8080 after 1.6s"},
		{"quick", func(f *live.Flow) { f.Again, f.Took = true, 0 }, "03:04:05.000 #4  closed, answered by shop/web-1 at 10.2.0.9:8080"},
		{"a datagram", func(f *live.Flow) { f.Again, f.State, f.Took = true, live.Answered, 0 }, "03:04:05.000 #4  answered by shop/web-1 at 10.2.0.9:8080"},
		{"nobody's address", func(f *live.Flow) { f.Again, f.State, f.Server = true, live.Open, "" }, "03:04:06.600 #4  open at 10.2.0.9:8080"},
		{"a strange client", func(f *live.Flow) { f.Client, f.Service, f.State, f.Why = "", "", live.Dropped, "n1 filter FORWARD:1" }, "03:04:06.600 #4  192.0.2.1:40000 -> 192.0.2.11:30080 tcp  dropped: n1 filter FORWARD:1"},
	} {
		f := flow
		row.change(&f)
		first, _, _ := strings.Cut(text(f, report.Brief), "\n")
		require.Equal(t, row.want, first, row.name)
	}
	var b bytes.Buffer
	require.NoError(t, report.LiveJSON(&b, flow))
	require.Equal(t, 1, strings.Count(b.String(), "\n"))
	require.NotContains(t, b.String(), "null")
	var again live.Flow
	require.NoError(t, json.Unmarshal(b.Bytes(), &again))
	require.Equal(t, netip.MustParseAddrPort("10.2.0.9:8080"), again.Endpoint)
	require.Equal(t, flow.Conns, again.Conns)
}
