package watch_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/labtest"
	"natlab/lab/traffic"
	"natlab/lab/watch"
	"natlab/nat"
	"natlab/nat/live"
	"natlab/nat/proof"
	"natlab/nat/report"
	"natlab/topology"
)

// watching is a watch that runs, and what it has told.
type watching struct {
	told chan live.Flow
	end  context.CancelFunc
	over chan error
}

// begin watches a lab, and returns when nothing is missed any more.
func begin(t *testing.T, l *lab.Lab, o watch.Options) *watching {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	t.Cleanup(end)
	w, ready := &watching{make(chan live.Flow, 100), end, make(chan error, 1)}, make(chan struct{})
	o.Ready = func() { close(ready) }
	go func() {
		_, err := watch.Lab(ctx, l, o, func(f live.Flow) error { w.told <- f; return nil })
		w.over <- err
	}()
	select {
	case <-ready:
	case err := <-w.over:
		require.NoError(t, err)
	}
	return w
}

// next is the next flow of a client's port that is told of.
func (w *watching) next(t *testing.T, port uint16) live.Flow {
	t.Helper()
	for {
		select {
		case f := <-w.told:
			if f.Source.Port() == port {
				return f
			}
		case err := <-w.over:
			t.Fatalf("it is over: %v", err)
		case <-t.Context().Done():
			t.Fatal("nothing is told")
		}
	}
}

func (w *watching) stop(t *testing.T) {
	t.Helper()
	w.end()
	require.NoError(t, <-w.over)
}

func ask(t *testing.T, l *lab.Lab, from, tuple string) {
	t.Helper()
	h, err := l.Handle(from)
	require.NoError(t, err)
	tp, err := nat.ParseTuple(tuple)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, _ = traffic.Ask(ctx, h, tp) // how it ends is told
}

// run runs a program in a member and returns what it prints.
func run(t *testing.T, l *lab.Lab, member string, argv ...string) string {
	t.Helper()
	var out strings.Builder
	status, err := l.Exec(t.Context(), member, argv, lab.Streams{Out: &out, Err: &out})
	require.NoError(t, err)
	require.Zero(t, status, out.String())
	return out.String()
}

func upWith(t *testing.T, b dataplane.Backend) *lab.Lab {
	t.Helper()
	c, _, err := topology.Load(topology.ReferenceSource())
	require.NoError(t, err)
	return labtest.New(t, c, func(_ testing.TB, _ *topology.Cluster, o *lab.Options) { o.Backend = b })
}

const minio = "velero/minio-b6d98746c-lxt2c" // on vms103, 10.244.38.178

// told is a flow that is asked, and how it has to be told of.
type told struct {
	name, from, tuple string
	want              string // "STATE client service server: the way of the request in each node"
}

// requireTold has a flow asked, and requires that it is told of.
func (w *watching) requireTold(t *testing.T, l *lab.Lab, flow told) {
	t.Helper()
	ask(t, l, flow.from, flow.tuple)
	tuple, err := nat.ParseTuple(flow.tuple)
	require.NoError(t, err)
	f := w.next(t, tuple.Src().Port())
	require.Regexp(t, "^"+flow.want, line(f), flow.name)
	require.Equal(t, tuple, nat.TupleOf(f.Protocol, f.Source, f.Target))
	require.NotEmpty(t, f.Reply.Hops)
	if f.State.End() == nat.EndAnswered {
		require.NotEmpty(t, f.Conns)
		require.Contains(t, report.Journeys(f.Certificate(), report.Style{}), f.Endpoint.String())
	}
}

// Whoever sends them, flows are told of as they went: by the kernel's rules of either backend, and by natlab's own NAT.
func TestFlowsAreTold(t *testing.T) {
	t.Parallel()
	for _, b := range append(dataplane.Backends(), dataplane.Userspace) {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			l := upWith(t, b)
			w := begin(t, l, watch.Options{})
			for _, flow := range []told{
				{"node port", "outside", "tcp 192.168.26.1:41001 > 192.168.26.101:30450", `closed outside velero/minio:console velero/minio-.*: vms101 PREROUTING KUBE-SERVICES KUBE-NODEPORTS KUBE-EXT-K6NOPV6C6M2DHO7B KUBE-SVC-K6NOPV6C6M2DHO7B KUBE-SEP-\w+ DNAT POSTROUTING KUBE-POSTROUTING MASQUERADE, vms10[35] PREROUTING POSTROUTING KUBE-POSTROUTING`},
				{"cluster IP, UDP", minio, "udp 10.244.38.178:41002 > 10.96.0.10:53", `answered velero/minio-\S+ kube-system/kube-dns:dns kube-system/coredns-.*: vms103 PREROUTING KUBE-SERVICES KUBE-SVC-\w+ KUBE-SEP-\w+ DNAT POSTROUTING KUBE-POSTROUTING, vms100 PREROUTING POSTROUTING KUBE-POSTROUTING`},
				{"refused", "vms103", "tcp 192.168.26.103:41003 > 192.168.26.100:1", `refused vms103  vms100: vms103 OUTPUT POSTROUTING KUBE-POSTROUTING, vms100 PREROUTING KUBE-SERVICES.* INPUT`},
				{"a node's own, to itself", "vms103", "tcp 192.168.26.103:41004 > 192.168.26.103:1", `refused vms103  vms103: vms103 .*OUTPUT`},
			} {
				if b == dataplane.Userspace { // a gateway's entries are asked for now and then: what TCP sent again may have reset the connection by then
					flow.want = strings.Replace(flow.want, "closed", "(closed|reset)", 1)
				}
				w.requireTold(t, l, flow)
			}
			w.stop(t)
		})
	}
}

// In nftables mode, too, and of IPv6 by either backend.
func TestFlowsOfOtherModesAreTold(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(*topology.Cluster)
		family nat.Family
		flows  []told
	}{
		{"nftables", func(c *topology.Cluster) { c.KubeProxy.Mode, c.KubeProxy.Release = topology.ModeNFTables, "v1.37" }, nat.IPv4, []told{
			{"node port", "outside", "tcp 192.168.26.1:41001 > 192.168.26.101:30450", `closed outside velero/minio:console velero/minio-.*: vms101 .*nat-prerouting services external-\w+-velero/minio/tcp/console service-\w+-velero/minio/tcp/console dnat .*nat-postrouting masquerading masquerade, vms10[35] .*nat-prerouting .*nat-postrouting$`},
			{"cluster IP, UDP", minio, "udp 10.244.38.178:41002 > 10.96.0.10:53", `answered velero/minio-\S+ kube-system/kube-dns:dns kube-system/coredns-.*: vms103 .*nat-prerouting services service-\w+-kube-system/kube-dns/udp/dns dnat .*nat-postrouting, vms100 .*nat-postrouting$`},
			{"refused", "vms103", "tcp 192.168.26.103:41003 > 192.168.26.100:1", `refused vms103  vms100: vms103 .*nat-output .*nat-postrouting, vms100 .*nat-prerouting filter-input$`},
		}},
		{"IPv6, iptables-legacy", func(c *topology.Cluster) { c.KubeProxy.Backend = string(dataplane.Legacy) }, nat.IPv6, flows6},
		{"IPv6, iptables-nft", func(c *topology.Cluster) { c.KubeProxy.Backend = string(dataplane.NFT) }, nat.IPv6, flows6},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c, err := topology.DualStack()
			require.NoError(t, err)
			row.change(&c)
			l := labtest.New(t, c)
			w := begin(t, l, watch.Options{Family: row.family})
			for _, flow := range row.flows {
				w.requireTold(t, l, flow)
			}
			w.stop(t)
		})
	}
}

var flows6 = []told{
	{"node port", "outside", "tcp [fd00:192:168:26::1]:41001 > [fd00:192:168:26::101]:30450", `closed outside velero/minio:console velero/minio-.*: vms101 PREROUTING KUBE-SERVICES KUBE-NODEPORTS KUBE-EXT-K6NOPV6C6M2DHO7B KUBE-SVC-K6NOPV6C6M2DHO7B KUBE-SEP-\w+ DNAT POSTROUTING KUBE-POSTROUTING MASQUERADE, vms10[35] PREROUTING POSTROUTING KUBE-POSTROUTING$`},
	{"cluster IP, UDP", minio, "udp [fd00:10:244:0:103::32]:41002 > [fd00:10:96::a]:53", `answered velero/minio-\S+ kube-system/kube-dns:dns kube-system/coredns-.*: vms103 PREROUTING KUBE-SERVICES KUBE-SVC-\w+ KUBE-SEP-\w+ DNAT POSTROUTING KUBE-POSTROUTING, vms100 PREROUTING POSTROUTING KUBE-POSTROUTING$`},
	{"refused", "vms103", "tcp [fd00:192:168:26::103]:41003 > [fd00:192:168:26::100]:1", `refused vms103  vms100: vms103 OUTPUT POSTROUTING KUBE-POSTROUTING, vms100 PREROUTING KUBE-SERVICES INPUT$`},
	{"refused, UDP", "vms103", "udp [fd00:192:168:26::103]:41004 > [fd00:192:168:26::100]:9", `refused vms103  vms100: vms103 OUTPUT POSTROUTING KUBE-POSTROUTING, vms100 PREROUTING KUBE-SERVICES INPUT$`},
}

// line is a flow in one line.
func line(f live.Flow) string {
	server := f.Server
	if server == "" {
		if n := f.Nodes(); len(n) > 0 {
			server = n[len(n)-1]
		}
	}
	out := fmt.Sprintf("%s %s %s %s:", f.State, f.Client, f.Service, server)
	for i, node := range f.Nodes() {
		if i > 0 {
			out += ","
		}
		out += " " + node
		for _, chain := range proof.Passed(f.Request.Steps, node, nat.Original) {
			out += " " + chain
		}
	}
	return out
}

// What is changed while it is watched is told as it is now, and told to be changed: a rule that drops names itself.
func TestRulesThatChangeMeanwhile(t *testing.T) {
	t.Parallel()
	for _, b := range dataplane.Backends() {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			l := upWith(t, b)
			w := begin(t, l, watch.Options{Nodes: []string{"vms103"}})
			run(t, l, "vms103", string(b), "-I", "FORWARD", "-p", "tcp", "--dport", "9090", "-j", "DROP")
			h, err := l.Handle("outside")
			require.NoError(t, err)
			f := live.Flow{Notes: []string{"not asked yet"}}
			for port := uint16(42001); len(f.Notes) > 0; port++ { // until the rules were read between the change and the flow
				ctx, cancel := context.WithCancel(t.Context())
				asked := make(chan struct{})
				go func() {
					defer close(asked)
					_, _ = traffic.Ask(ctx, h, nat.TupleOf(nat.TCP, netip.AddrPortFrom(netip.MustParseAddr("192.168.26.1"), port), netip.MustParseAddrPort("10.244.38.178:9090"))) // until it is told to be lost
				}()
				f = w.next(t, port)
				cancel()
				<-asked
				require.Equal(t, []string{"vms103"}, f.Nodes())
			}
			require.Equal(t, live.Dropped, f.State)
			require.Equal(t, "vms103 filter FORWARD:1: -A FORWARD -p tcp -m tcp --dport 9090 -j DROP", f.Why)
			w.stop(t)
		})
	}
}

// A watch ends by count, by time, when it is told to, and when the lab goes; it leaves nothing behind.
func TestHowAWatchEnds(t *testing.T) {
	t.Parallel()
	l := upWith(t, dataplane.NFT)
	quiet := func(live.Flow) error { return nil }
	_, err := watch.Lab(t.Context(), l, watch.Options{Nodes: []string{"nobody"}}, quiet)
	require.ErrorContains(t, err, `no node "nobody": want one of vms100, `)
	_, err = watch.Lab(t.Context(), l, watch.Options{Timeout: time.Millisecond}, quiet)
	require.NoError(t, err)

	w := begin(t, l, watch.Options{Count: 1, Match: func(f live.Flow) bool { return f.Protocol == nat.TCP }})
	ask(t, l, minio, "udp 10.244.38.178:43001 > 10.96.0.10:53")
	ask(t, l, minio, "tcp 10.244.38.178:43002 > 10.96.0.10:53")
	require.NoError(t, <-w.over)
	require.Len(t, w.told, 1)
	require.Equal(t, netip.MustParseAddrPort("10.244.38.178:43002"), (<-w.told).Source)
	require.NotContains(t, run(t, l, "vms103", "nft", "list", "tables"), "natlab")

	w = begin(t, l, watch.Options{})
	require.NoError(t, l.Down(t.Context()))
	require.ErrorIs(t, <-w.over, lab.ErrGone)
}
