package witness_test

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/traffic"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/proof"
	"natlab/topology"
)

// nodeRules is kube-proxy in small: one ClusterIP 10.9.0.9:80 (tcp and udp) with one endpoint, one that is rejected
// (10.9.0.7), one that is dropped (10.9.0.6), and no masquerade for what the server's own network asks.
const nodeRules = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SEP-X - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-X - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-SEP-X -s 10.2.0.2/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-X -p tcp -m tcp -j DNAT --to-destination 10.2.0.2:8080
-A KUBE-SEP-X -p udp -m udp -j DNAT --to-destination 10.2.0.2:8080
-A KUBE-SERVICES -d 10.9.0.8/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-X
-A KUBE-SERVICES -d 10.9.0.9/32 -j KUBE-SVC-X
-A KUBE-SVC-X ! -s 10.2.0.0/24 -j KUBE-MARK-MASQ
-A KUBE-SVC-X -j KUBE-SEP-X
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -d 10.9.0.7/32 -j REJECT --reject-with icmp-port-unreachable
-A FORWARD -d 10.9.0.6/32 -j DROP
-A FORWARD -j KUBE-FORWARD
-A OUTPUT -d 10.9.0.7/32 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`

// install puts rules into the wire's node and returns them as the witness wants them.
func (w wire) install(t *testing.T, b dataplane.Backend, text string) witness.Known {
	t.Helper()
	d, err := dataplane.New(b)
	require.NoError(t, err)
	rs, err := iptables.Parse(strings.NewReader(text), nat.IPv4)
	require.NoError(t, err)
	require.NoError(t, d.Install(t.Context(), w.node, rs))
	live, err := d.Dump(t.Context(), w.node, nat.IPv4)
	require.NoError(t, err)
	if b == dataplane.NFT {
		return witness.Known{NFT: live}
	}
	return witness.Known{Legacy: live}
}

// watch starts a session over all three namespaces that ends with the test, and a tcp and a udp server.
func (w wire) watch(t *testing.T, r witness.Known, o witness.Options) *witness.Session {
	t.Helper()
	for _, p := range []nat.Proto{nat.TCP, nat.UDP} {
		s, err := traffic.Serve(w.server, "server", p, netip.AddrPortFrom(serverAddr, 8080))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
	}
	s, err := witness.Start(t.Context(), w.watched(r), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func (w wire) watched(r witness.Known) []witness.Watched {
	return []witness.Watched{
		{Member: "client", Kind: topology.KindClient, NS: w.client},
		{Member: "node", Kind: topology.KindNode, NS: w.node, Rules: r},
		{Member: "server", Kind: topology.KindPod, NS: w.server},
	}
}

// ask sends one request and returns how it ended: "answered", or the kind of failure.
func ask(t *testing.T, from traffic.Namespace, tuple string) string {
	t.Helper()
	tp, err := nat.ParseTuple(tuple)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = traffic.Ask(ctx, from, tp)
	if err == nil {
		return "answered"
	}
	return fmt.Sprint(traffic.KindOf(err))
}

// lose sends one request that will not be answered and returns as soon as the witness has seen it end.
func lose(t *testing.T, s *witness.Session, from traffic.Namespace, tuple string, end func(proof.Observation) bool) []proof.Observation {
	t.Helper()
	tp, err := nat.ParseTuple(tuple)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	asking, stop := context.WithCancel(ctx)
	go func() { _, err := traffic.Ask(asking, from, tp); done <- err }()
	var seen []proof.Observation
	for !slices.ContainsFunc(seen, end) {
		select {
		case <-s.Notify():
		case <-ctx.Done():
			t.Fatalf("the end of %s was not seen:\n%s", tuple, strings.Join(lines(seen, ""), "\n"))
		}
		more, err := s.Drain(ctx)
		require.NoError(t, err)
		seen = append(seen, more...)
	}
	stop()
	require.Error(t, <-done, "nobody answers it")
	return seen
}

func drain(t *testing.T, s *witness.Session) []proof.Observation {
	t.Helper()
	seen, err := s.Drain(t.Context())
	require.NoError(t, err)
	require.Zero(t, s.Lost())
	return seen
}

var masqueraded = regexp.MustCompile(`10\.2\.0\.1:\d+`)

// lines writes the packets and rules of one namespace (or of all) in the order in which they were seen, with the port
// that chance chose for MASQUERADE as R.
func lines(seen []proof.Observation, node string) []string {
	var out []string
	for _, o := range seen {
		if node != "" && o.Node != node {
			continue
		}
		var line string
		switch o.Kind {
		case proof.PacketSeen:
			line = fmt.Sprintf("%s %s %s %#x", o.Hop.Tap, o.Hop.Dev, o.Hop.Tuple, o.Hop.Mark)
			if o.ICMP.Type != 0 {
				line += fmt.Sprintf(" about %s", o.ICMP.Inside)
			}
			if o.Hop.Outer.IsValid() {
				line += fmt.Sprintf(" in %s", o.Hop.Outer)
			}
		case proof.RuleHit:
			line = fmt.Sprintf("  %s %s:%d %s %s>%s %s %#x", o.Step.Table, o.Step.Chain, o.Step.Rule, o.Step.Verdict, o.InDev, o.OutDev, o.Step.Before, o.Step.Mark)
		case proof.ConnSeen:
			continue
		}
		out = append(out, masqueraded.ReplaceAllString(line, "10.2.0.1:R"))
	}
	return out
}

// split is a text's lines that are not empty.
func split(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// conns are the states that a namespace's connection was in, in order, each once.
func conns(seen []proof.Observation, original string) []string {
	var out []string
	for _, o := range seen {
		if o.Kind != proof.ConnSeen || o.Conn.Original.String() != original {
			continue
		}
		out = append(out, masqueraded.ReplaceAllString(fmt.Sprintf("%s %s", o.Conn.Reply, o.Conn.Status), "10.2.0.1:R"))
	}
	return slices.Compact(out)
}
