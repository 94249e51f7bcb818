package realise

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/topology"
)

// What a Plan asks for of a device's settings is in the files, whichever way it came there, and what the files hold is read.
func TestSettingsOfDevices(t *testing.T) {
	settings := []topology.Sysctl{
		{Device: "br0", Key: "net/ipv4/conf/br0/accept_local", Value: "1"},
		{Device: "br0", Key: "net/ipv4/conf/br0/arp_ignore", Value: "2"}, // not one that rtnetlink is asked for
		{Device: "br0", Key: "net/ipv4/conf/br0/proxy_arp", Value: "1"},
		{Device: "br0", Key: "net/ipv4/conf/br0/route_localnet", Value: "1"},
		{Device: "br0", Key: "net/ipv4/conf/br0/rp_filter", Value: "2"},
		{Device: "br0", Key: "net/ipv4/conf/br0/send_redirects", Value: "0"},
		{Device: "br1", Key: "net/ipv4/conf/br1/rp_filter", Value: "1"},
		{Device: "br0", Key: "net/ipv4/neigh/br0/proxy_delay", Value: "0"},
		{Device: "br1", Key: "net/ipv4/neigh/br1/proxy_delay", Value: "50"},
	}
	name := fmt.Sprintf("natlab-conf-%d", os.Getpid())
	plan := topology.Namespace{Name: name, Member: "n", Kind: topology.KindNode, Sysctls: settings, Devices: []topology.Device{
		{Name: "br0", Kind: topology.Bridge, MTU: 1500}, {Name: "br1", Kind: topology.Bridge, MTU: 1500},
	}}
	b := New(topology.Plan{Lab: "conf", Namespaces: []topology.Namespace{plan}}, func(string) {})
	t.Cleanup(func() { require.NoError(t, netns.Delete(name)) })
	t.Cleanup(b.Close)
	require.NoError(t, b.Create(t.Context()))
	h := b.Handles()["n"]
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	require.NoError(t, b.Wire(t.Context()))

	files := func() (out []topology.Sysctl) {
		for _, s := range settings {
			require.NoError(t, h.Do(func() error {
				content, err := os.ReadFile("/proc/sys/" + s.Key)
				s.Value = strings.TrimSpace(string(content))
				return err
			}))
			out = append(out, s)
		}
		return out
	}
	require.Equal(t, settings, files())
	now, _, err := Read(h, plan)
	require.NoError(t, err)
	require.Equal(t, settings, now.Sysctls)

	for i, value := range []string{"0", "1", "0", "0", "0", "1", "2", "70", "0"} {
		require.NoError(t, h.Do(func() error { return writeSysctl(new(tree), topology.Sysctl{Key: settings[i].Key, Value: value}) }))
	}
	now, _, err = Read(h, plan)
	require.NoError(t, err)
	require.Equal(t, files(), now.Sysctls)
	require.NotEqual(t, settings, now.Sysctls)
}

// Only what rtnetlink has is asked of it.
func TestDeviceSetting(t *testing.T) {
	for _, row := range []struct {
		key, device, name string
	}{
		{"net/ipv4/conf/eth0.5/rp_filter", "eth0.5", "rp_filter"},
		{"net/ipv4/neigh/eth0/proxy_delay", "eth0", "proxy_delay"},
		{"net/ipv4/conf/all/rp_filter", "", ""},
		{"net/ipv4/conf/default/rp_filter", "", ""},
		{"net/ipv4/conf/eth0/forwarding", "", ""},
		{"net/ipv4/conf/eth0/proxy_delay", "", ""},
		{"net/ipv4/neigh/eth0/rp_filter", "", ""},
		{"net/ipv6/conf/eth0/proxy_ndp", "", ""},
		{"net/ipv4/ip_forward", "", ""},
	} {
		device, name, ok := deviceSetting(row.key)
		if !ok {
			device, name = "", ""
		}
		require.Equal(t, row.device, device, row.key)
		require.Equal(t, row.name, name, row.key)
		require.Equal(t, row.device != "", ok, row.key)
	}
}
