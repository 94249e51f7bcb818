package scenarios

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/proof"
)

// hopsOf reads "MEMBER TAP DEVICE TUPLE" lines; "inside" at the end is a packet in a tunnel.
func hopsOf(t *testing.T, text string) (hops []nat.Hop) {
	t.Helper()
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		h := nat.Hop{Node: words[0], Dev: words[2]}
		require.NoError(t, h.Tap.UnmarshalText([]byte(words[1])))
		var err error
		h.Tuple, err = nat.ParseTuple(strings.Join(words[3:7], " "))
		require.NoError(t, err)
		if words[len(words)-1] == "inside" {
			h.Outer, err = nat.ParseTuple("ipip 192.168.0.1:0 > 192.168.0.2:0")
			require.NoError(t, err)
		}
		hops = append(hops, h)
	}
	return hops
}

func TestAtRest(t *testing.T) {
	t.Parallel()
	h := home{tunnel: "tunl0", local: map[string][]netip.Addr{
		"cl": {netip.MustParseAddr("192.168.0.100")}, "n1": {netip.MustParseAddr("192.168.0.1")}, "web": {netip.MustParseAddr("10.244.2.2")},
	}}
	const (
		asks  = "tcp 192.168.0.100:4000 > 192.168.0.1:30080"
		dnat  = "tcp 192.168.0.100:4000 > 10.244.2.2:8080"
		back  = "tcp 10.244.2.2:8080 > 192.168.0.100:4000"
		right = "tcp 192.168.0.1:30080 > 192.168.0.100:4000"
		leave = "cl output-raw eth0 " + asks + "\ncl postrouting eth0 " + asks + "\n"
		into  = leave + "n1 prerouting-raw eth0 " + asks + "\nn1 prerouting-nat eth0 " + dnat + "\n"
		out   = into + "n1 postrouting tunl0 " + dnat + "\n"
	)
	drop := nat.Trace{{Node: "n1", Chain: "INPUT", Verdict: nat.Drop}}
	for _, row := range []struct {
		name           string
		request, reply string
		steps          nat.Trace
		want           bool
	}{
		{"nothing was seen yet", "", "", nil, false},
		{"it left its client", leave, "", nil, true},
		{"a node has it, and does not send it on", into, "", nil, true},
		{"the node itself serves it", leave + "n1 prerouting-raw eth0 " + asks + "\nn1 prerouting-nat eth0 " + asks, "", nil, false},
		{"the node drops it first", leave + "n1 prerouting-nat eth0 " + asks, "", drop, true},
		{"the program of a tunnel has it", out, "", nil, false},
		{"it left the tunnel", out + "n1 output-raw eth0 " + dnat + " inside", "", nil, true},
		{"the program of the other end has it", out + "n1 output-raw eth0 " + dnat + " inside\nn2 prerouting-raw eth0 " + dnat + " inside", "", nil, false},
		{"the server has it", into + "web prerouting-nat eth0 " + dnat, "", nil, false},
		{"the server answered, and the answer does not come", into + "web prerouting-nat eth0 " + dnat, "web output-raw eth0 " + back, nil, true},
		{"the answer came", into + "web prerouting-nat eth0 " + dnat, "web output-raw eth0 " + back + "\ncl prerouting-nat eth0 " + right, nil, false},
		{"an answer came from elsewhere", into + "web prerouting-nat eth0 " + dnat, "web output-raw eth0 " + back + "\ncl prerouting-nat eth0 " + back, nil, true},
		{"the server's own address is its source", "web prerouting-nat eth0 tcp 10.244.2.2:4000 > 10.244.2.2:8080", "", nil, true},
		{"a member asks itself", "web prerouting-nat lo tcp 10.244.2.2:4000 > 10.244.2.2:8080", "", nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			tuple, err := nat.ParseTuple(asks)
			require.NoError(t, err)
			seen := proof.Seen{
				Request: nat.Journey{Hops: hopsOf(t, row.request), Steps: row.steps},
				Reply:   nat.Journey{Hops: hopsOf(t, row.reply)},
			}
			require.Equal(t, row.want, atRest(nat.Probe{From: "cl", Tuple: tuple}, seen, h))
		})
	}
}
