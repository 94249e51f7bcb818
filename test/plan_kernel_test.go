package test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/topology"
)

const planDeadline = 5 * time.Second

// TestPlanRunsByHand runs what Plan.String prints in a shell, in namespaces of its own, and sees that the lab's
// members reach each other as the plan means them to.
func TestPlanRunsByHand(t *testing.T) {
	t.Parallel()
	require.Zero(t, os.Geteuid(), "network namespaces need root")
	for _, overlay := range []topology.Overlay{topology.IPIP, topology.VXLAN, topology.None} {
		t.Run(overlay.String(), func(t *testing.T) {
			t.Parallel()
			p := planByHand(t, overlay)
			if overlay == topology.IPIP && !hasIPIP(t) { // the lab then serves tunl0 from user space, which a shell cannot
				out, err := shell(p.String())
				require.Error(t, err)
				require.Contains(t, out, "Unknown device type", "it stands up to tunl0, and no further")
				return
			}
			run(t, p.String())
			checkReach(t, p, overlay)
			checkAnnounced(t, p)
		})
	}
}

// hasIPIP asks the kernel, in a namespace of its own.
func hasIPIP(t *testing.T) bool {
	t.Helper()
	name := uniqueName(t)
	h, err := netns.CreateLeased(name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, errors.Join(h.Close(), netns.Delete(name))) })
	out, err := exec.CommandContext(t.Context(), "ip", "-n", name, "link", "add", "t0", "type", "ipip", "local", "127.0.0.1").CombinedOutput()
	if err != nil {
		require.Contains(t, string(out), "Unknown device type", "only a kernel without ipip may refuse")
	}
	return err == nil
}

func uniqueName(t *testing.T) string {
	t.Helper()
	var b [4]byte
	_, err := rand.Read(b[:])
	require.NoError(t, err)
	return fmt.Sprintf("plan-%d-%x", os.Getpid(), b)
}

// shell hands text to a shell that stops at the first command that fails.
func shell(text string) (out string, err error) {
	cmd := exec.Command("sh", "-e") //nolint:noctx // also used in clean-up, when the test's context is over
	cmd.Stdin = strings.NewReader(text)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// run is shell where no command may fail.
func run(t *testing.T, text string) {
	t.Helper()
	out, err := shell(text)
	require.NoError(t, err, "%s", out)
}

// planByHand is the reference lab with a client behind the router, whose namespaces are taken away when the test ends.
func planByHand(t *testing.T, overlay topology.Overlay) topology.Plan {
	t.Helper()
	c, err := topology.Reference()
	require.NoError(t, err)
	c.Name, c.PodNetwork.Overlay = uniqueName(t), overlay
	c.Clients = append(c.Clients, topology.Client{Name: "far", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.7")}})
	p, err := topology.NewPlan(c)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, ns := range p.Namespaces {
			if netns.Exists(ns.Name) {
				require.NoError(t, netns.Delete(ns.Name))
			}
		}
	})
	for _, ns := range p.Namespaces {
		lease, err := netns.Lease(ns.Name)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, lease.Close()) })
	}
	return p
}

func in(t *testing.T, p topology.Plan, member string, f func() error) {
	t.Helper()
	ns, ok := p.Namespace(member)
	require.True(t, ok, member)
	h, err := netns.Open(ns.Name)
	require.NoError(t, err)
	defer func() { require.NoError(t, h.Close()) }()
	require.NoError(t, h.Do(f), member)
}

// checkReach sends one datagram each way for every kind of pair, and compares the source that arrives.
func checkReach(t *testing.T, p topology.Plan, overlay topology.Overlay) {
	t.Helper()
	const (
		podA, ipA = "velero/minio-b6d98746c-m7rzc", "10.244.169.89"
		podB, ipB = "velero/minio-b6d98746c-lxt2c", "10.244.38.178"
	)
	nodeAsPod := map[topology.Overlay]string{topology.IPIP: "10.244.239.128", topology.VXLAN: "10.244.239.128", topology.None: "192.168.26.100"}[overlay]
	for _, row := range []struct{ from, to, addr, source string }{
		{podA, podB, ipB, ipA}, // across nodes
		{"kube-system/coredns-c676cc86f-kpvcj", "kube-system/coredns-c676cc86f-xqj8d", "10.244.239.132", "10.244.239.129"}, // on one node
		{"vms105", podA, ipA, "192.168.26.105"},                  // a node to its own pod
		{"vms100", podA, ipA, nodeAsPod},                         // a node to another's pod
		{podA, "vms100", "192.168.26.100", ipA},                  // a pod to another node
		{"vms100", "vms106", "192.168.26.106", "192.168.26.100"}, // node to node
		{"outside", "vms100", "192.168.26.100", "192.168.26.1"},  // a client on the underlay
		{"far", "vms100", "192.168.26.100", "203.0.113.7"},       // a client behind the router
		{"far", "outside", "192.168.26.1", "203.0.113.7"},        // one client to another
		{podA, "far", "203.0.113.7", ipA},                        // a pod to a host outside
	} {
		require.Equal(t, row.source, ask(t, p, row.from, row.to, row.addr), "%s to %s", row.from, row.to)
	}
	ns, _ := p.Namespace(podA)
	require.Contains(t, output(t, "ip", "-n", ns.Name, "neigh"), "169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee", "the node answers ARP for the pods' next hop")
}

// planPort is the last port that somebody was asked at. Each has its own: a process that another test is about to start holds a closed socket open for a moment.
var planPort atomic.Uint32

// ask sends a datagram from one member to another, which sends back whom it saw.
func ask(t *testing.T, p topology.Plan, from, to, addr string) string {
	t.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(4000+planPort.Add(1)%1000)) //nolint:gosec // below 5000
	var server *net.UDPConn
	in(t, p, to, func() (err error) {
		server, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		return err
	})
	done := make(chan error, 1)
	defer func() {
		require.NoError(t, server.Close())
		require.NoError(t, <-done)
	}()
	go func() {
		var b [16]byte
		_, peer, err := server.ReadFromUDPAddrPort(b[:])
		if err == nil {
			_, err = server.WriteToUDPAddrPort([]byte(peer.Addr().String()), peer)
		}
		done <- err
	}()
	answer := make([]byte, 64)
	in(t, p, from, func() (err error) {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		if _, err := c.Write([]byte("who am I")); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(planDeadline)); err != nil {
			return err
		}
		n, err := c.Read(answer)
		answer = answer[:n]
		return err
	})
	return string(answer)
}

// checkAnnounced sees that the announcing node answers ARP for the load balancer's address at once, for a client
// and for the router.
func checkAnnounced(t *testing.T, p topology.Plan) {
	t.Helper()
	node, ok := p.Namespace("vms102")
	require.True(t, ok)
	mac := ""
	for _, d := range node.Devices {
		if d.Name == "ens32" {
			mac = d.MAC
		}
	}
	for _, member := range []string{"outside", "router"} {
		in(t, p, member, func() error {
			c, err := net.Dial("udp4", "192.168.26.223:80") //nolint:noctx // a UDP dial does not wait
			if err != nil {
				return err
			}
			_, err = c.Write([]byte("who has"))
			return errors.Join(err, c.Close())
		})
		ns, _ := p.Namespace(member)
		want := "192.168.26.223 dev eth0 lladdr " + mac
		require.Eventually(t, func() bool { return strings.Contains(output(t, "ip", "-n", ns.Name, "neigh"), want) },
			planDeadline, 10*time.Millisecond, "%s finds %s", member, want)
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}
