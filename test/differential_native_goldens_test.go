package test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/packet"
)

// TestDifferentialNativeGoldens loads what real kube-proxies wrote in nftables mode on both sides, and asks each address and port of their maps from
// outside, from a pod and from the node, twice, since affinity remembers: the tables of the newest release, of IPv4 every fourth, or with
// NATLAB_DIFF all of all releases. In place of chance each endpoint has its turn.
func TestDifferentialNativeGoldens(t *testing.T) {
	t.Parallel()
	every, releases := map[nat.Family]int{nat.IPv4: 4, nat.IPv6: 1}, "v1.37.2"
	if os.Getenv("NATLAB_DIFF") != "" {
		every[nat.IPv4], releases = 1, "v1.*"
	}
	paths, err := filepath.Glob(filepath.Join(nftGoldens, releases, "*.txtar"))
	require.NoError(t, err)
	onNativeTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		for i, path := range paths {
			if i%every[w.family] == 0 {
				w.nativeGolden(t, path)
			}
		}
		require.Greater(t, w.packets, 100)
		t.Logf("%d tables, %d packets: no difference", w.rounds, w.packets)
	})
}

// certain has no chance in it: of numbers each has its turn, and a port stays where it can.
var certain = strings.NewReplacer("numgen random", "numgen inc", "masquerade fully-random", "masquerade")

// nativeGolden gives both sides one family's table of a golden, and packets for all that it serves.
func (w *twins) nativeGolden(t *testing.T, path string) {
	t.Helper()
	all, err := nftables.ParseText(string(archived(t, path)["nft.txt"]))
	require.NoError(t, err)
	table, has := all.Table(nftables.FamilyOf(w.family), kubeproxy.NFTTable)
	if !has {
		return
	}
	if s, is := table.Set("nodeport-ips"); is && len(s.Elements) > 0 { // node ports are the twins' node's
		s.Elements = []nftables.Element{{Key: []nftables.Constant{nftables.Addr(addressIn(w.family, "192.168.1.1"))}}}
	}
	rs := nativeRules{text: certain.Replace(table.String()), listed: w.rounds%2 == 0}
	w.rounds++
	w.settings = plainSettings(w.family)
	w.loadNative(t, &rs)
	port := uint16(2000)
	for _, to := range served(&table, w.family) {
		for _, from := range []string{"192.168.1.10", "10.244.0.5", "192.168.1.1"} {
			port++
			src := netip.AddrPortFrom(addressIn(w.family, from), port)
			tuple := nat.TupleOf(to.proto, src, to.at)
			f := packet.Fields{ID: 0x8001, DF: true, TTL: 64, TCP: packet.TCP{Flags: 2, Seq: 1000, Window: 64240}}
			for range 2 {
				diff := w.give(t, deviceOf(src.Addr()), packet.Build(tuple, f).Bytes(), 0)
				if diff != undecided {
					require.Empty(t, diff, "%s: %s\n%s", path, tuple, rs.text)
				}
			}
		}
	}
}

// question is an address and port to ask.
type question struct {
	proto nat.Proto
	at    netip.AddrPort
}

// served are the addresses and ports in a table's verdict maps, and of each address a port that nobody serves.
func served(t *nftables.Table, family nat.Family) (out []question) {
	node := addressIn(family, "192.168.1.1").String()
	for i := range t.Sets {
		s := &t.Sets[i]
		for k := range s.Elements {
			words := strings.Fields(s.Elements[k].String()) // ADDRESS . PROTO . PORT, or PROTO . PORT
			if s.Map && len(words) > 2 && (words[0] == "tcp" || words[0] == "udp") {
				words = append([]string{node, "."}, words...)
			}
			if !s.Map || len(words) < 5 {
				continue
			}
			proto, err := nat.ParseProto(words[2])
			at, err2 := netip.ParseAddr(words[0])
			port, err3 := strconv.ParseUint(words[4], 10, 16)
			if err != nil || err2 != nil || err3 != nil || proto != nat.TCP && proto != nat.UDP {
				continue
			}
			out = append(out, question{proto, netip.AddrPortFrom(at, uint16(port))}, question{proto, netip.AddrPortFrom(at, 9)})
		}
	}
	return out
}
