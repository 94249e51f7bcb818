package report_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"natlab/nat/proof"
	"natlab/nat/report"
)

// kept is a flow whose packets were kept: each is an IP header with its number in the identification, said to be cut short.
func kept(c proof.Certificate, first uint64) proof.Certificate {
	at := time.Unix(1700000000, 0).UTC()
	for i, h := range c.Hops {
		b := make([]byte, 20)
		b[0], b[3], b[5] = 0x45, 60, byte(i)
		c.Packets = append(c.Packets, proof.Packet{Direction: h.Direction, Seq: first + uint64(2*i), At: at.Add(time.Duration(i) * time.Millisecond), Hop: h.Hop, Bytes: b})
	}
	return c
}

// A capture has each packet once, in the order seen, at its tap's interface, and tells what it met.
func TestPcapng(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	one, other := kept(nodePort(), 1), kept(nodePort(), 2)
	require.NoError(t, report.Pcapng(&b, proof.Report{Lab: "reference", Flows: []proof.Certificate{one, other}}))
	r, err := pcapgo.NewNgReader(&b, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	require.NoError(t, err)
	var order, taps []string
	comments := map[string][]string{}
	for n := 0; ; n++ {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Equal(t, n/2, int(data[5]), "in the order seen")
		require.Equal(t, 60, info.Length, "as long as its header has it")
		require.Equal(t, one.Packets[n/2].At.UnixNano(), info.Timestamp.UnixNano())
		tap, err := r.Interface(info.InterfaceIndex)
		require.NoError(t, err)
		h := one.Packets[n/2].Hop
		require.Equal(t, h.Node+" "+h.Tap.String(), tap.Name)
		order = append(order, tap.Name)
		comments[tap.Name] = append(comments[tap.Name], options.Comments...)
	}
	require.Len(t, order, 2*len(one.Packets))
	for i := range r.NInterfaces() {
		tap, err := r.Interface(i)
		require.NoError(t, err)
		taps = append(taps, tap.Name)
	}
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(taps))), len(taps), "an interface a tap")
	nat := comments["vms100 prerouting-nat"]
	require.Contains(t, nat, "outside -> NodePort vms100:30450 tcp velero/minio:console by 10.244.38.178:9090, request: then")
	require.Contains(t, nat, "met nat PREROUTING:1 → KUBE-SERVICES, nat KUBE-SERVICES:5 → KUBE-NODEPORTS, nat KUBE-NODEPORTS:2 → KUBE-EXT-K6NOPV6C6M2DHO7B, "+
		"nat KUBE-EXT-K6NOPV6C6M2DHO7B:1 → KUBE-MARK-MASQ, nat KUBE-MARK-MASQ:1 MARK --set-xmark 0x4000/0x4000, nat KUBE-EXT-K6NOPV6C6M2DHO7B:2 → KUBE-SVC-K6NOPV6C6M2DHO7B, "+
		"nat KUBE-SVC-K6NOPV6C6M2DHO7B:2 → KUBE-SEP-DB3JUIMGX6LERFY3, nat KUBE-SEP-DB3JUIMGX6LERFY3:2 DNAT --to-destination 10.244.38.178:9090")
	require.Contains(t, nat, "mark 0x4000")
	require.Contains(t, nat, "entry "+asked+", reply "+answer+", SEEN_REPLY|ASSURED|CONFIRMED|SRC_NAT|DST_NAT|SRC_NAT_DONE|DST_NAT_DONE")
	require.Empty(t, slices.DeleteFunc(comments["vms100 output-raw"], func(s string) bool { return s[:5] != "entry" }), "a tunnel's packet is another connection")
}

func TestPcapngOfNothing(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, report.Pcapng(io.Discard, whole()), "no packet was kept")
}
