package inspect_test

import (
	"bytes"
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/inspect"
	"natlab/lab/labtest"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/nat/audit"
	"natlab/nat/view"
	"natlab/topology"
)

// A lab that is as it came up has no finding, whatever its backend, release and overlay, and what is planted is found in
// the node where it is, by what the kernel holds.
func TestAuditOfALab(t *testing.T) {
	for _, b := range dataplane.Backends() {
		t.Run(string(b), func(t *testing.T) {
			c := reference(t)
			c.KubeProxy.Backend = string(b)
			l := labtest.New(t, c)
			for _, node := range l.Nodes() {
				require.Empty(t, audited(t, l, node))
			}
			program, other := "iptables-legacy", "iptables-nft"
			if b == dataplane.NFT {
				program, other = other, program
			}

			in(t, l, "vms105", program, "-t", "nat", "-F", "KUBE-MARK-MASQ")
			found := audited(t, l, "vms105")
			require.Len(t, found, 1)
			require.Equal(t, audit.Missing, found[0].Kind)
			require.Equal(t, "kubernetes#32415", found[0].Issue)
			require.Empty(t, audited(t, l, "vms106"))

			in(t, l, "vms106", program, "-t", "nat", "-I", "POSTROUTING", "-s", "10.244.0.0/16", "-d", "10.244.0.0/16", "-j", "ACCEPT")
			found = audited(t, l, "vms106")
			require.Len(t, found, 1)
			require.Equal(t, audit.EarlyVerdict, found[0].Kind)
			in(t, l, "vms106", program, "-t", "nat", "-D", "POSTROUTING", "1")
			in(t, l, "vms106", program, "-A", "FORWARD", "-j", "REJECT")
			in(t, l, "vms106", "sysctl", "-qw", "net.ipv4.ip_forward=0")
			found = audited(t, l, "vms106")
			require.Len(t, found, 2)
			require.Equal(t, []audit.Kind{audit.Dropped, audit.Setting}, []audit.Kind{found[0].Kind, found[1].Kind})

			// What is beside iptables' tables counts, too.
			in(t, l, "vms105", "nft", "add table inet mine { chain forward { type filter hook forward priority 5; policy drop; ct state established accept; }; }")
			found = audited(t, l, "vms105")
			require.Len(t, found, 2)
			require.Equal(t, []audit.Kind{audit.Missing, audit.ForwardPolicy}, []audit.Kind{found[0].Kind, found[1].Kind})
			require.Equal(t, "inet mine", found[1].Table)

			// The other backend's chains are made last.
			in(t, l, "vms100", other, "-t", "nat", "-A", "OUTPUT", "-d", "192.0.2.1/32", "-j", "DNAT", "--to-destination", "192.0.2.2")
			found = audited(t, l, "vms100")
			require.Len(t, found, 1)
			require.Equal(t, audit.BothBackends, found[0].Kind)
			require.Contains(t, found[0].Why, "here "+other)
		})
	}
}

// The same in nftables mode, of both families, after flows that were remembered.
func TestAuditInNFTablesMode(t *testing.T) {
	c, err := topology.DualStack()
	require.NoError(t, err)
	c.Name, c.KubeProxy.Release, c.KubeProxy.Mode = reference(t).Name, "v1.37", topology.ModeNFTables
	for i := range c.Services {
		c.Services[i].AffinitySeconds = 60
	}
	l := labtest.New(t, c)
	h, err := l.Handle("vms106")
	require.NoError(t, err)
	for _, to := range []string{"10.98.1.4:9000", "[fd00:10:96::6]:9000"} {
		_, err = traffic.Ask(t.Context(), h, nat.TupleOf(nat.TCP, netip.AddrPort{}, netip.MustParseAddrPort(to)))
		require.NoError(t, err)
	}
	for _, node := range l.Nodes() {
		require.Empty(t, audited(t, l, node))
	}
	in(t, l, "vms105", "nft", "delete", "element", "ip", "kube-proxy", "cluster-ips", "{ 10.98.1.4 }")
	in(t, l, "vms105", "nft", "flush", "chain", "ip6", "kube-proxy", "masquerading")
	found := audited(t, l, "vms105")
	require.Len(t, found, 3)
	require.Equal(t, []audit.Kind{audit.Missing, audit.Missing, audit.Missing}, []audit.Kind{found[0].Kind, found[1].Kind, found[2].Kind})
	require.Equal(t, []string{"cluster-ips", "masquerading", "masquerading"}, []string{found[0].Set, found[1].Chain, found[2].Chain})
	require.Equal(t, []string{"ipv4", "ipv6", "ipv6"}, []string{found[0].Family, found[1].Family, found[2].Family})
	in(t, l, "vms106", "nft", "delete", "table", "ip6", "kube-proxy")
	require.Len(t, audited(t, l, "vms106"), 1)
	require.Empty(t, audited(t, l, "vms100"))
}

// The rules of a lab are at revision 2: the lines of facts.md come out of its kernel.
func TestViewsOfALab(t *testing.T) {
	l := labtest.New(t, reference(t))
	h, err := l.Handle("vms105")
	require.NoError(t, err)
	raw, err := inspect.Read(h, dataplane.Legacy, nat.IPv4)
	require.NoError(t, err)
	for version, lines := range map[string][]string{
		"1.8.7": {"--to-destination 10.244.169.89:9090\n", "-j MASQUERADE --random-fully\n"},
		"1.4.21": {
			"-A KUBE-SEP-OLNIRCQFCXAN5USW -p tcp -m comment --comment \"velero/minio:console\" -m tcp -j DNAT --to-destination :0 --persistent --to-destination :0 --persistent --to-destination 0.0.0.0:0\n",
			"--to-destination :0 --persistent --to-destination :0 --persistent --to-destination 0.0.0.0:0 --persistent\n",
			"-j MASQUERADE\n",
		},
		"1.6.2": {"-j DNAT [unsupported revision]\n"},
	} {
		t.Run(version, func(t *testing.T) {
			v, err := view.ParseVersion(version)
			require.NoError(t, err)
			text, _ := view.View{Version: v, Sets: raw.Sets}.Save(raw.Tables...)
			for _, line := range lines {
				require.Contains(t, text, line, version)
			}
		})
	}
	found := auditNode(t, l, "vms105", inspect.Options{Tools: []view.Version{{1, 4, 21}}})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, audit.Revision, found[0].Kind)
}

// A connection that was tracked before the rules were there goes on untranslated.
func TestAuditFindsAConnectionFromBeforeTheRules(t *testing.T) {
	c := reference(t)
	for i, s := range c.Services {
		for j := range s.Ports {
			c.Services[i].Ports[j].Protocol = map[string]string{"minio": "UDP"}[s.Name]
			if s.Name != "minio" {
				c.Services[i].Ports[j].Protocol = "TCP"
			}
		}
	}
	l := labtest.New(t, c)
	vip, port := serviceAddress(t, c, "minio")
	program := []string{"bash", "-c", "exec 3<>/dev/udp/" + vip.String() + "/" + port + " && echo >&3"}
	rule := []string{"OUTPUT", "-m", "comment", "--comment", "kubernetes service portals", "-j", "KUBE-SERVICES"}
	in(t, l, "vms105", append([]string{"iptables-legacy", "-t", "nat", "-D"}, rule...)...)
	in(t, l, "vms105", program...)
	in(t, l, "vms105", append([]string{"iptables-legacy", "-t", "nat", "-A"}, rule...)...)
	found := audited(t, l, "vms105")
	require.Len(t, found, 1)
	require.Equal(t, audit.MirrorConn, found[0].Kind)
	require.Equal(t, "kubernetes#48370", found[0].Issue)
}

func serviceAddress(t *testing.T, c topology.Cluster, name string) (netip.Addr, string) {
	t.Helper()
	for _, s := range c.Services {
		if s.Name == name {
			return s.ClusterIPs[0], netip.AddrPortFrom(s.ClusterIPs[0], s.Ports[0].Port).String()[len(s.ClusterIPs[0].String())+1:]
		}
	}
	t.Fatalf("no Service %s", name)
	return netip.Addr{}, ""
}

func audited(t *testing.T, l *lab.Lab, node string) []audit.Finding {
	t.Helper()
	return auditNode(t, l, node, inspect.Options{})
}

func auditNode(t *testing.T, l *lab.Lab, node string, o inspect.Options) []audit.Finding {
	t.Helper()
	h, err := l.Handle(node)
	require.NoError(t, err)
	o.Backend, o.Lab = l.Backend(), true
	found, err := inspect.Audit(t.Context(), h, l.Cluster(), node, o)
	require.NoError(t, err)
	return found
}

func reference(t *testing.T) topology.Cluster {
	t.Helper()
	c, err := topology.Reference()
	require.NoError(t, err)
	return c
}

// in runs a program in a node.
func in(t *testing.T, l *lab.Lab, node string, argv ...string) {
	t.Helper()
	var out bytes.Buffer
	status, err := l.Exec(context.Background(), node, argv, lab.Streams{Out: &out, Err: &out})
	require.NoError(t, err)
	require.Zero(t, status, "%v: %s", argv, out.String())
}

// The machine is audited by what its own namespace holds: here that is a node's.
func TestAuditOfTheMachine(t *testing.T) {
	c := reference(t)
	l := labtest.New(t, c)
	h, err := l.Handle("vms105")
	require.NoError(t, err)
	var found []audit.Finding
	require.NoError(t, h.Do(func() (err error) {
		found, err = inspect.AuditMachine(t.Context(), c, "vms105", inspect.Options{})
		return err
	}))
	require.Empty(t, found)
	in(t, l, "vms105", "iptables-legacy", "-t", "nat", "-D", "KUBE-POSTROUTING", "3")
	require.NoError(t, h.Do(func() (err error) {
		found, err = inspect.AuditMachine(t.Context(), c, "vms105", inspect.Options{})
		return err
	}))
	require.Len(t, found, 1)
	require.Contains(t, found[0].What, "MASQUERADE")
}
