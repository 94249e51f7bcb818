package test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/nat/rules"
	"natlab/topology"
)

// TestRulesOfOthersAreProved loads what other agents keep on a node over a healthy lab: every Service works as it has to, so
// every flow is proved. Strict is another question, whose answer is no.
func TestRulesOfOthersAreProved(t *testing.T) {
	t.Parallel()
	for _, agent := range []string{"calico", "flannel", "docker", "kube-router"} {
		for _, backend := range dataplane.Backends() {
			t.Run(agent+" "+string(backend), func(t *testing.T) {
				t.Parallel()
				l := referenceLab(t, backend)
				loadAgent(t, l, agent)
				r, err := verify.Lab(t.Context(), l, verify.Options{WithoutControl: true})
				require.NoError(t, err)
				require.Equal(t, proof.Proved, r.Outcome(), "%s: %d proved, %d disproved, %d inconclusive: %s",
					agent, r.Count(proof.Proved), r.Count(proof.Disproved), r.Count(proof.Inconclusive), firstWrong(r))
				require.Condition(t, func() bool {
					return strings.Contains(strings.Join(r.Notes, "\n"), "the rules are not just kube-proxy's in")
				}, "%v", r.Notes)
			})
		}
	}
}

// loadAgent puts an agent's rules and sets into every node.
func loadAgent(t *testing.T, l *lab.Lab, agent string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "agents", agent+".rules"))
	require.NoError(t, err)
	for _, n := range l.Cluster().Nodes {
		loadSets(t, l, n.Name, agent)
		block := "10.244.198.0/24"
		if len(n.PodBlocks) > 0 {
			block = n.PodBlocks[0].String()
		}
		runIn(t, l, n.Name, strings.ReplaceAll(string(text), "@BLOCK@", block), string(l.Backend())+"-restore", "--noflush", "-w")
	}
}

// loadSets makes the ipsets that an agent's rules name: lines of "create NAME TYPE ..." and "add NAME PREFIX".
func loadSets(t *testing.T, l *lab.Lab, node, agent string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "agents", agent+".sets"))
	if os.IsNotExist(err) {
		return
	}
	require.NoError(t, err)
	h, err := l.Handle(node)
	require.NoError(t, err)
	require.NoError(t, h.Do(func() error {
		nl, err := netlink.NewHandle()
		if err != nil {
			return err
		}
		defer nl.Close()
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if f[0] == "create" {
				if err := nl.IpsetCreate(f[1], f[2], netlink.IpsetCreateOptions{}); err != nil {
					return fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
				}
				continue
			}
			p := netip.MustParsePrefix(f[2])
			if err := nl.IpsetAdd(f[1], &netlink.IPSetEntry{IP: p.Addr().AsSlice(), CIDR: uint8(p.Bits())}); err != nil {
				return fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
			}
		}
		return nil
	}))
}

// runIn runs a program in a node.
func runIn(t *testing.T, l *lab.Lab, node, stdin string, argv ...string) {
	t.Helper()
	var out bytes.Buffer
	status, err := l.Exec(t.Context(), node, argv, lab.Streams{In: strings.NewReader(stdin), Out: &out, Err: &out})
	require.NoError(t, err)
	require.Zero(t, status, "%s: %v: %s", node, argv, out.String())
}

// What another agent's rules are there for is no fault of a Service, and is named: Calico's natOutgoing masquerades what kube-proxy leaves as it
// is, and the last word on a packet is a NetworkPolicy's, which drops it or rejects it. Strictly none of it is allowed.
func TestWhatMayIsAllowed(t *testing.T) {
	t.Parallel()
	const (
		pod     = "velero/minio-b6d98746c-lxt2c" // on vms103, 10.244.38.178; the Service's other one is on vms105
		apiHere = `{apiVersion: v1, kind: Service, metadata: {namespace: default, name: kubernetes}, spec: {type: ClusterIP, clusterIP: 10.96.0.1, ports: [{name: https, protocol: TCP, port: 443, targetPort: 6443}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: default, name: kubernetes, labels: {kubernetes.io/service-name: kubernetes}}, addressType: IPv4,
 ports: [{name: https, protocol: TCP, port: 6443}], endpoints: [{addresses: [192.168.26.100], nodeName: vms100, conditions: {ready: true}}]}
`
	)
	c, _, err := topology.Load(topology.ReferenceSource(), topology.Source{Name: "api.yaml", Reader: strings.NewReader(apiHere)})
	require.NoError(t, err)
	l := labOf(t, c, dataplane.Legacy)
	loadAgent(t, l, "calico")
	restore := func(node, text string) {
		runIn(t, l, node, "*filter\n"+text+"COMMIT\n", string(l.Backend())+"-restore", "--noflush", "-w")
	}
	restore("vms103", ":cali-pi-default.closed - [0:0]\n"+
		"-A cali-pi-default.closed -p tcp -m comment --comment \"cali:4cZ8Rc0fPNkqJZJk\" -m tcp --dport 9090 -j DROP\n"+
		"-I cali-tw-workload -m comment --comment \"cali:hAAqbOGLqPDGGmvr\" -j cali-pi-default.closed\n")
	restore("vms105", ":KUBE-POD-FW-J2XZVGNNTGQPBKRD - [0:0]\n"+
		"-A KUBE-POD-FW-J2XZVGNNTGQPBKRD -p tcp -m comment --comment \"rule to REJECT traffic destined for POD name:minio namespace: velero\" -m tcp --dport 9090 -j REJECT\n"+
		"-I FORWARD -m comment --comment \"rule to jump traffic destined to POD name:minio\" -j KUBE-POD-FW-J2XZVGNNTGQPBKRD\n")
	for _, row := range []struct {
		flow proof.Selector
		want []string // by whom something is allowed, in the order of the certificates
	}{
		{proof.Selector{Service: "default/kubernetes:https", From: pod}, []string{`Calico \(NAT of what pods send out of the pod network\) in vms103: -A cali-nat-outgoing .*-j MASQUERADE`}},
		{proof.Selector{Service: "velero/minio:console", From: "outside", To: "192.168.26.100:30450"}, []string{
			`Calico \(NetworkPolicy\) in vms103: -A cali-pi-default.closed .*-j DROP`, `kube-router \(NetworkPolicy\) in vms105: -A KUBE-POD-FW-J2XZVGNNTGQPBKRD .*-j REJECT`,
		}},
	} {
		for _, strict := range []bool{false, true} {
			r, err := verify.Lab(t.Context(), l, verify.Options{Selector: row.flow, WithoutControl: true, Strict: strict})
			require.NoError(t, err)
			if strict {
				require.Equal(t, proof.Disproved, r.Outcome(), row.flow.Service)
				continue
			}
			require.Equal(t, proof.Proved, r.Outcome(), firstWrong(r))
			var told []string
			for _, c := range r.Flows {
				for _, a := range c.AllowedBy {
					told = append(told, a.String())
				}
			}
			require.Len(t, told, len(row.want), "%v", told)
			slices.Sort(told)
			for i, want := range row.want {
				require.Regexp(t, want, told[i])
			}
		}
	}
}

// A change of kube-proxy's rules that means the same is proved, and one that does not is named by its decisive rule although
// harmless rules of others stand in front of it.
func TestDecisiveRules(t *testing.T) {
	t.Parallel()
	const minio = "velero/minio:console"
	console := proof.Selector{Service: minio, From: "outside", To: "192.168.26.100:30450"}
	for _, row := range []struct {
		name string
		node string
		cut  []string // rules changed, each as iptables takes it
		flow proof.Selector
		want string // in the rules that the certificate names; "" for a change that means the same
	}{
		{"no target", "vms100", []string{"-t nat -I OUTPUT -m comment --comment harmless", "-t nat -I PREROUTING -m comment --comment harmless"}, console, ""},
		{"MARK in place of the jump to KUBE-MARK-MASQ", "vms100", []string{"-t nat -R KUBE-EXT-K6NOPV6C6M2DHO7B 1 -j MARK --set-xmark 0x4000/0x4000"}, console, ""},
		{"the mark rule flushed", "vms100", []string{"-t nat -F KUBE-MARK-MASQ"}, console, "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"},
		{"the mark taken back in mangle", "vms100", []string{"-t mangle -A FORWARD -j MARK --set-xmark 0x0/0x4000"}, console, "-A FORWARD -j MARK --set-xmark 0x0/0x4000"},
		{"DROP in FORWARD", "vms100", []string{"-I FORWARD 2 -p tcp -d 10.244.0.0/16 -j DROP"}, console, "-A FORWARD -d 10.244.0.0/16 -p tcp -j DROP"},
		{"DROP in another chain", "vms100", []string{"-I cali-to-hep-forward -p tcp -m tcp --dport 9090 -j DROP"}, console, "-A cali-to-hep-forward -p tcp -m tcp --dport 9090 -j DROP"},
		{"DROP in mangle", "vms100", []string{"-t mangle -I PREROUTING -p tcp --dport 30450 -j DROP"}, console, "-A PREROUTING -p tcp -m tcp --dport 30450 -j DROP"},
		{"DROP in raw", "vms100", []string{"-t raw -I PREROUTING -p tcp --dport 30450 -j DROP"}, console, "-A PREROUTING -p tcp -m tcp --dport 30450 -j DROP"},
		{"NOTRACK", "vms100", []string{"-t raw -A PREROUTING -p tcp --dport 30450 -j CT --notrack"}, console, "-j CT --notrack"},
		{"REJECT at the pod's node", "vms103", []string{"-I FORWARD -d 10.244.38.178/32 -p tcp -j REJECT"}, console, "-A FORWARD -d 10.244.38.178/32 -p tcp -j REJECT"},
		{"RETURN in KUBE-SERVICES", "vms100", []string{"-t nat -I KUBE-SERVICES -j RETURN"}, console, "-A KUBE-SERVICES -j RETURN"},
		{"another DNAT first", "vms100", []string{"-t nat -I PREROUTING -p tcp --dport 30450 -j DNAT --to-destination 10.244.31.123:3000"}, console, "-j DNAT --to-destination 10.244.31.123:3000"},
		{"the masquerade gone", "vms100", []string{"-t nat -F KUBE-POSTROUTING"}, console, "-A KUBE-POSTROUTING"},
		{"masqueraded as somebody else", "vms100", []string{"-t nat -I POSTROUTING -d 10.244.0.0/16 -j SNAT --to-source 192.168.26.100"}, console, "-j SNAT --to-source 192.168.26.100"},
		{"the endpoint's chain flushed", "vms100", []string{"-t nat -F KUBE-SEP-DB3JUIMGX6LERFY3"}, console, "-A KUBE-SEP-DB3JUIMGX6LERFY3 -p tcp"},
		{"source ports that kernels give out", "vms100", []string{"-I FORWARD -p tcp --sport 32768:60999 -j DROP"}, console, "-A FORWARD -p tcp -m tcp --sport 32768:60999 -j DROP"},
		{"long packets", "vms100", []string{"-I FORWARD -m length --length 1001: -j DROP"}, console, "-A FORWARD -m length --length 1001:65535 -j DROP"},
		{"long answers, rejected", "vms100", []string{"-I FORWARD -p tcp --sport 9090 -m length --length 1001: -j REJECT"}, console, "-A FORWARD -p tcp -m tcp --sport 9090 -m length --length 1001:65535 -j REJECT"},
		{"the FIN of the server", "vms100", []string{"-t mangle -I FORWARD -p tcp --sport 9090 --tcp-flags FIN FIN -j DROP"}, console, "-A FORWARD -p tcp -m tcp --sport 9090 --tcp-flags FIN FIN -j DROP"},
		{"the FIN of the client", "vms100", []string{"-t raw -I PREROUTING -p tcp --dport 30450 --tcp-flags FIN FIN -j DROP"}, console, "-A PREROUTING -p tcp -m tcp --dport 30450 --tcp-flags FIN FIN -j DROP"},
		{"long datagrams", "vms100", []string{"-I FORWARD -p udp -m length --length 1001: -j DROP"}, proof.Selector{Service: "kube-system/kube-dns:dns", From: "vms101"}, "-A FORWARD -p udp -m length --length 1001:65535 -j DROP"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := referenceLab(t, dataplane.Legacy)
			loadAgent(t, l, "calico")
			for _, change := range row.cut {
				runIn(t, l, row.node, "", append([]string{string(l.Backend()), "-w"}, strings.Fields(change)...)...)
			}
			r, err := verify.Lab(t.Context(), l, verify.Options{Selector: row.flow, WithoutControl: true})
			require.NoError(t, err)
			if row.want == "" {
				require.Equal(t, proof.Proved, r.Outcome(), firstWrong(r))
				return
			}
			require.Equal(t, proof.Disproved, r.Outcome(), firstWrong(r))
			for _, c := range r.Flows {
				if c.Verdict == proof.Disproved {
					require.Equal(t, row.node, c.Wrong.Node, "%+v", *c.Wrong)
					require.Contains(t, c.Wrong.WantRule+"\n"+c.Wrong.LiveRule, row.want, "%+v", *c.Wrong)
				}
			}
		})
	}
}

// A healthy lab differs in nothing from its Plan.
func TestAFreshLabIsAsPlanned(t *testing.T) {
	t.Parallel()
	for _, overlay := range []topology.Overlay{topology.IPIP, topology.VXLAN, topology.None} {
		t.Run(overlay.String(), func(t *testing.T) {
			t.Parallel()
			c := reference(t)
			c.PodNetwork.Overlay = overlay
			n, err := labOf(t, c, dataplane.Legacy).Network(t.Context())
			require.NoError(t, err)
			require.Empty(t, n.World)
			require.Equal(t, rules.No, n.IPsec)
		})
	}
}

// What is otherwise in a node, a pod or on the way than the lab made it is named where a flow fails of it, and a flow that
// does not mind it is proved.
func TestTheWorldIsBlamed(t *testing.T) {
	t.Parallel()
	const pod = "velero/minio-b6d98746c-lxt2c" // on vms103, 10.244.38.178
	remote := proof.Selector{Service: "velero/minio:console", From: "outside", To: "192.168.26.100:30450"}
	for _, row := range []struct {
		name  string
		in    string
		argv  string
		flow  proof.Selector
		blame string // in Wrong.Why; "" for what does no harm
	}{
		{"forwarding off", "vms100", "sysctl -q -w net.ipv4.ip_forward=0", remote, "vms100: net/ipv4/ip_forward is 0, the lab made it 1"},
		{"a route gone", "vms100", "ip route del 10.244.38.128/26", remote, "10.244.38.128/26 via 192.168.26.103"},
		{"a blackhole", "vms100", "ip route replace blackhole 10.244.38.178/32", remote, "blackhole 10.244.38.178 is not the lab's"},
		{"a table of routes", "vms100", "sh -c 'ip route add blackhole default table 100 && ip rule add to 10.244.0.0/16 lookup 100'", remote, "from all to 10.244.0.0/16 table 100"},
		{"reverse path filter", "vms103", "sysctl -q -w net.ipv4.conf.all.rp_filter=1", remote, ""},
		{"the pod's link down", "vms103", "ip link set cali3cc4bd22559 down", remote, "vms103: device cali3cc4bd22559 is down"},
		{"the underlay down", "vms103", "ip link set ens32 down", remote, "vms103: device ens32 is down"},
		{"the tunnel down", "vms103", "ip link set tunl0 down", remote, "vms103: device tunl0 is down"},
		{"the pod's default route gone", pod, "ip route del default", remote, "the route default"},
		{"the pod's own route refuses", pod, "ip route add blackhole 10.244.239.128/32", remote, "blackhole 10.244.239.128 is not the lab's"},
		{"a wrong neighbour", "vms100", "ip neigh replace 192.168.26.103 lladdr 02:00:00:00:00:99 dev ens32 nud permanent", remote, "192.168.26.103 lladdr 02:00:00:00:00:99"},
		{"an address gone", "vms103", "ip addr flush dev tunl0", remote, ""},
		{"IPsec forbids it", "vms103", "ip xfrm policy add dst 10.244.38.178/32 dir fwd action block", remote, "vms103: IPsec policy dir fwd"},
		{"another MTU", "vms103", "ip link set cali3cc4bd22559 mtu 1400", remote, ""},
		{"an MTU that nothing fits through", pod, "ip link set eth0 mtu 80", remote, pod + ": device eth0 has MTU 80, the lab made it 1480"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := referenceLab(t, dataplane.Legacy)
			argv := strings.Fields(row.argv)
			if argv[0] == "sh" {
				argv = []string{"sh", "-c", strings.Trim(strings.TrimPrefix(row.argv, "sh -c "), "'")}
			}
			runIn(t, l, row.in, "", argv...)
			r, err := verify.Lab(t.Context(), l, verify.Options{Selector: row.flow, WithoutControl: true})
			require.NoError(t, err)
			if row.blame == "" {
				require.Equal(t, proof.Proved, r.Outcome(), firstWrong(r))
				return
			}
			require.Equal(t, proof.Disproved, r.Outcome(), firstWrong(r))
			blamed := false
			for _, c := range r.Flows {
				if c.Verdict == proof.Disproved {
					blamed = blamed || strings.Contains(c.Wrong.Why, row.blame)
				}
			}
			require.True(t, blamed, "%s", firstWrong(r))
		})
	}
}

// A packet that is lost although all that the model knows has it answered is known lost by the taps: no client's patience runs
// out, and a few attempts are enough.
func TestALossThatTheModelDoesNotKnow(t *testing.T) {
	t.Parallel()
	l := referenceLab(t, dataplane.Legacy)
	runIn(t, l, "vms103", "", "sh", "-c", "nft add table netdev t && nft 'add chain netdev t c { type filter hook ingress device ens32 priority 0; }' && "+
		"nft add rule netdev t c ip saddr 192.168.26.1 tcp dport 30450 drop") // before any hook of IPv4
	r, err := verify.Lab(t.Context(), l, verify.Options{Selector: proof.Selector{Service: "velero/minio:console", From: "outside"}})
	require.NoError(t, err)
	require.Equal(t, proof.Disproved, r.Outcome())
	for _, c := range r.Flows {
		if c.Target != netip.MustParseAddrPort("192.168.26.103:30450") {
			require.Equal(t, proof.Proved, c.Verdict, "%s: %+v", c.Name, c.Wrong)
			continue
		}
		require.Equal(t, proof.Disproved, c.Verdict)
		require.Equal(t, nat.EndLost, c.End)
		require.LessOrEqual(t, c.Tries, 3)
		require.Equal(t, "vms103: nft table netdev t: chain c at ingress, priority 0", c.Wrong.Why)
	}
	for _, note := range r.Notes {
		require.NotContains(t, note, "no answer came in time")
	}
}

// What TCP has to send again is counted and told, also where all is answered.
func TestWhatTCPSendsAgainIsTold(t *testing.T) {
	t.Parallel()
	l := referenceLab(t, dataplane.Legacy)
	only := proof.Selector{Service: "velero/minio:console", From: "outside", To: "192.168.26.100:30450"}
	runIn(t, l, "outside", "", "sh", "-c", "nft add table netdev t && nft 'add chain netdev t c { type filter hook ingress device eth0 priority 0; }' && "+
		"nft add rule netdev t c ip length gt 300 numgen inc mod 3 == 0 drop") // data only: a lost ACK is made good by the next, and nothing is sent again
	r, err := verify.Lab(t.Context(), l, verify.Options{Selector: only, WithoutControl: true})
	require.NoError(t, err)
	require.Condition(t, func() bool {
		return slices.ContainsFunc(r.Notes, func(note string) bool {
			return strings.HasPrefix(note, "TCP sent ") && strings.Contains(note, " again, of which the first was lost or late: ")
		})
	}, "%v", r.Notes)
}

// A lab that is taken away while it is proved ends the proof with one line, and is no verdict.
func TestALabThatGoesAwayIsNoVerdict(t *testing.T) {
	t.Parallel()
	l := referenceLab(t, dataplane.Legacy)
	attended, stop, err := l.Attend(t.Context())
	require.NoError(t, err)
	defer stop()
	found := make(chan error)
	go func() {
		for {
			if _, err := verify.Lab(context.WithoutCancel(t.Context()), l, verify.Options{}); err != nil {
				found <- err
				return
			}
		}
	}()
	require.NoError(t, lab.Down(t.Context(), l.Name()))
	<-attended.Done()
	require.ErrorIs(t, context.Cause(attended), lab.ErrGone)
	require.EqualError(t, context.Cause(attended), "lab "+l.Name()+" was taken away meanwhile")
	err = <-found
	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
}
