//go:build kubeproxy

package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/proxy"
	"natlab/nat"
	"natlab/nat/packet"
	"natlab/topology"
)

// flowTable is one call of the packet-flow tests in kube-proxy's own unit tests: the rules that its proxier wrote there, and for each packet what the tests' tracer makes of them.
type flowTable struct {
	Test, Line string
	Rules      string
	NodeIPs    []string
	Cases      []flowCase
}

type flowCase struct {
	Name, Source, Protocol, Dest string
	Port                         int
	Output                       string // the endpoints, ACCEPT, DROP or REJECT; "" for none
	Masq                         bool
}

// v4 reports whether a packet is of IPv4: the rows of IPv6 are few, and not replayed.
func (c flowCase) v4() bool { return !strings.Contains(c.Source+c.Dest, ":") }

// recordsFlows is put beside the unit tests of a mode, and called by what runs their packet-flow tests. %[1]s is the package, then come its imports, the type of the rules, and how they are printed.
const recordsFlows = `package %[1]s

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	%[2]s
)

func recordFlows(t *testing.T, line any, rules %[3]s, nodeIPs []string, all []packetFlowTest) {
	var text bytes.Buffer
	%[4]s
	var cases []any
	for _, c := range all {
		cases = append(cases, map[string]any{"Name": c.name, "Source": c.sourceIP, "Protocol": string(c.protocol), "Dest": c.destIP, "Port": c.destPort, "Output": c.output, "Masq": c.masq})
	}
	f, err := os.OpenFile(os.Getenv("FLOWS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = json.NewEncoder(f).Encode(map[string]any{"Test": t.Name(), "Line": fmt.Sprint(line), "Rules": text.String(), "NodeIPs": nodeIPs, "Cases": cases})
	}
	if err != nil {
		t.Fatal(err)
	}
}
`

// flowModes are the modes whose unit tests have packet-flow tests: the file that runs them, how that begins, and what has to be known of the rules there.
var flowModes = []struct{ mode, file, begins, imports, rules, prints string }{
	{
		topology.ModeIPTables, "proxier_test.go",
		"func runPacketFlowTests(t *testing.T, line int, ipt *iptablestest.FakeIPTables, nodeIPs []string, testCases []packetFlowTest) {\n	",
		`utiliptables "k8s.io/kubernetes/pkg/util/iptables"
	iptablestest "k8s.io/kubernetes/pkg/util/iptables/testing"`, "*iptablestest.FakeIPTables",
		`for _, table := range []utiliptables.Table{"nat", "filter"} {
		if err := rules.SaveInto(table, &text); err != nil {
			t.Fatal(err)
		}
	}`,
	},
	{
		topology.ModeNFTables, "helpers_test.go",
		"func runPacketFlowTests(t *testing.T, line string, nft *knftables.Fake, nodeIPs []string, testCases []packetFlowTest) {\n	",
		`"sigs.k8s.io/knftables"`, "*knftables.Fake", `text.WriteString(rules.Dump())`,
	},
}

// TestKubeProxyPacketFlows replays the packet-flow tables of kube-proxy's unit tests on the kernel: the rules that its proxier writes there are loaded, each packet is sent, and what the
// kernel makes of it is held against what the unit tests' tracer does. Rows and rules are read from the release's module as it is.
func TestKubeProxyPacketFlows(t *testing.T) {
	const release = "v1.37.2"
	for _, m := range flowModes {
		t.Run(m.mode, func(t *testing.T) {
			call := strings.Split(m.begins, ", ")[2]
			name, _, _ := strings.Cut(call, " ")
			source := changedSource(t, release, "pkg/proxy/"+m.mode+"/"+m.file, m.begins, m.begins+"recordFlows(t, line, "+name+", nodeIPs, testCases)\n	")
			file := filepath.Join(source, "pkg", "proxy", m.mode, "recordflows_test.go")
			require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, recordsFlows, m.mode, m.imports, m.rules, m.prints), 0o600))
			replayed, findings := 0, []string{}
			for _, table := range recordedFlows(t, release, source, m.mode) {
				n, found := replayFlows(t, m.mode, table)
				replayed, findings = replayed+n, append(findings, found...)
			}
			require.Greater(t, replayed, 100)
			slices.Sort(findings)
			findings = slices.Compact(findings)
			require.Empty(t, findings, "of %d rows", replayed)
			t.Logf("%d rows replayed", replayed)
		})
	}
}

// recordedFlows runs the unit tests of a mode, which have to pass, and reads what they recorded.
func recordedFlows(t *testing.T, release, source, mode string) (out []flowTable) {
	t.Helper()
	work := t.TempDir()
	require.NoError(t, proxy.Builder{Log: t.Output(), Source: source}.Module(t.Context(), release, work))
	recorded := filepath.Join(work, "flows")
	run := exec.CommandContext(t.Context(), "go", "test", "-mod=mod", "-trimpath", "-vet=off", "-count=1", "k8s.io/kubernetes/pkg/proxy/"+mode)
	run.Dir, run.Stderr, run.Stdout = work, t.Output(), t.Output()
	run.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "FLOWS="+recorded)
	require.NoError(t, run.Run())
	f, err := os.Open(recorded)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var one flowTable
		require.NoError(t, json.Unmarshal(lines.Bytes(), &one))
		out = append(out, one)
	}
	require.NoError(t, lines.Err())
	return out
}

// flowNode is a node of the unit tests: what is outside is behind in0, pods are behind out0.
func flowNode(table flowTable) topology.Namespace {
	ns := topology.Namespace{Member: "node", Kind: topology.KindNode}
	for _, name := range []string{"in0", "out0"} {
		ns.Devices = append(ns.Devices, topology.Device{Name: name, Kind: topology.PointToPoint, MTU: mtus[name]})
	}
	for _, text := range table.NodeIPs {
		if a := netip.MustParseAddr(text); a.Is4() {
			ns.Addresses = append(ns.Addresses, topology.Address{Device: "in0", Prefix: netip.PrefixFrom(a, 32)})
		}
	}
	ns.Addresses = append(ns.Addresses, topology.Address{Device: "out0", Prefix: netip.MustParsePrefix("10.255.255.1/32")})
	ns.Routes = []topology.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Device: "in0"}, {Dst: netip.MustParsePrefix("10.0.0.0/8"), Device: "out0"}}
	ns.Sysctls = differentialNode(nat.IPv4).Sysctls
	ns.Sysctls = append(ns.Sysctls, topology.Sysctl{Key: "net/ipv4/conf/all/route_localnet", Value: "1"})
	return ns
}

// replayFlows sends the packets of a table. A finding is a row of which the kernel makes something else.
func replayFlows(t *testing.T, mode string, table flowTable) (replayed int, findings []string) {
	t.Helper()
	if !slices.ContainsFunc(table.Cases, flowCase.v4) {
		return 0, nil
	}
	k := newKernelNode(t, flowNode(table), nat.IPv4)
	require.NoError(t, loadFlows(t, k, mode, table.Rules), "%s, line %s", table.Test, table.Line)
	port := uint16(20000)
	for _, c := range table.Cases {
		proto, is := map[string]nat.Proto{"": nat.TCP, "TCP": nat.TCP, "UDP": nat.UDP}[c.Protocol]
		if !is || !c.v4() {
			continue
		}
		source, dest := netip.MustParseAddr(c.Source), netip.MustParseAddr(c.Dest)
		replayed++
		want := strings.Split(strings.TrimPrefix(c.Output, "ACCEPT"), ", ") // what the node lets in it answers itself
		seen, masked := map[string]bool{}, c.Masq
		for n := range enoughPackets(len(want)) {
			port++
			got, masq := flowEnd(t, k, nat.TupleOf(proto, netip.AddrPortFrom(source, port), netip.AddrPortFrom(dest, uint16(c.Port))))
			seen[got] = true
			if n == 0 {
				masked = masq
			}
			if len(seen) == len(want) && n > 0 {
				break
			}
		}
		got := slices.Sorted(maps.Keys(seen))
		slices.Sort(want)
		if !slices.Equal(got, want) || masked != c.Masq && c.Output != "DROP" && c.Output != "REJECT" {
			findings = append(findings, fmt.Sprintf("%s: %s: %s %s -> %s:%d: the tracer has %q masquerade %v, the kernel %q masquerade %v",
				table.Test, c.Name, proto, c.Source, c.Dest, c.Port, c.Output, c.Masq, strings.Join(got, ", "), masked))
		}
	}
	return replayed, findings
}

// enoughPackets is after how many packets each of so many endpoints was chosen once, but for one chance in a milliard.
func enoughPackets(endpoints int) int {
	if endpoints < 2 {
		return 1
	}
	return int(math.Ceil(math.Log(1e-9) / math.Log1p(-1/float64(endpoints))))
}

// bareComment is a comment without quotes, as the unit tests' stand-in for iptables keeps those of rules that are added one by one.
var bareComment = regexp.MustCompile(`--comment ([^" ][^"]*?) -`)

// loadFlows gives the node the rules.
func loadFlows(t *testing.T, k *kernelNode, mode, rules string) error {
	t.Helper()
	if mode == topology.ModeNFTables {
		return dataplane.RunNFT(t.Context(), k.ns, rules)
	}
	return k.ns.Do(func() error {
		if err := dataplane.MakeCounters(k.ns, "ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts"); err != nil {
			return err
		}
		cmd := exec.CommandContext(t.Context(), "iptables-nft-restore")
		cmd.Stdin = strings.NewReader(bareComment.ReplaceAllString(rules, `--comment "$1" -`))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("iptables-nft-restore: %w: %s", err, out)
		}
		return nil
	})
}

// flowEnd is what the kernel makes of a packet, in the tracer's words.
func flowEnd(t *testing.T, k *kernelNode, asked nat.Tuple) (output string, masq bool) {
	t.Helper()
	p := packet.Build(asked, packet.Fields{TCP: packet.TCP{Seq: 1, Flags: 2, Window: 0xffff}, Payload: []byte("?")})
	from, otherwise := "in0", "DROP"
	switch {
	case asked.Src().Addr().IsLoopback() || localTo(k, asked.Src().Addr()):
		err := unix.Sendto(k.raw, p.Bytes(), 0, &unix.SockaddrInet4{Addr: asked.Dst().Addr().As4()})
		if errors.Is(err, unix.EPERM) {
			return "DROP", false
		}
		require.NoError(t, err)
		otherwise = "" // it stays in the node
	case netip.MustParsePrefix("10.0.0.0/8").Contains(asked.Src().Addr()):
		from = "out0"
		fallthrough
	default:
		k.inject(t, from, p.Bytes())
	}
	for _, left := range k.collect(t) {
		for _, b := range left {
			q, err := packet.Parse(b)
			require.NoError(t, err)
			switch {
			case q.Proto() == nat.ICMP:
				return "REJECT", false
			case q.Proto() != asked.Proto() || q.Proto() == nat.TCP && q.TCPFlags() != 2:
				return "", false // the node itself answered
			}
			masq = q.Tuple().Src() != asked.Src()
			if q.Tuple().Dst() != asked.Dst() {
				return q.Tuple().Dst().String(), masq
			}
			return "", masq
		}
	}
	return otherwise, false
}

// localTo reports whether an address is the node's.
func localTo(k *kernelNode, a netip.Addr) bool {
	nl, err := k.ns.Netlink()
	if err != nil {
		return false
	}
	defer nl.Close()
	routes, err := nl.RouteGet(a.AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}
