package topology

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A tunnel is one by its kind, or where nothing else tells by its name.
func TestTunnels(t *testing.T) {
	t.Parallel()
	for names, want := range map[string]bool{
		"tunl0 flannel.1 flannel-v6.1 flannel.4096 vxlan.calico vxlan-v6.calico cilium_vxlan cilium_geneve antrea-tun0 wg0 tailscale0 flannel-wg": true,
		"eth0 ens32 lan cni0 docker0 weave cali0123456789a veth1a2b3c4d lo dummy0 kube-ipvs0":                                                     false,
	} {
		for name := range strings.FieldsSeq(names) {
			require.Equal(t, want, deviceNamed(name).Tunnels(), "%s", name)
		}
	}
	require.True(t, Device{Name: "x", Kind: TunnelVXLAN}.Tunnels())
	require.False(t, Device{Name: "tunl0", Kind: Veth}.Tunnels(), "its kind is told")
}

// What a name tells of a device by custom.
func TestDeviceNames(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		names string
		kind  DeviceKind
		from  KindSource
	}{
		{"docker0 docker_gwbridge br-6f0d3b2c4a51 br-lan br0 vmbr0 xvmbr1 virbr0 cni0 cbr0 podman1 cni-podman0 nerdctl0 lxcbr0 lxdbr0 incusbr0 kube-bridge weave", Bridge, KindByName},
		{"wg0 wg tun0 utun3 tailscale0 ppp0 gre1 sit0 vti5 nebula1 kilo0 flannel-wg flannel.wg wireguard.cali", PointToPoint, KindByName},
		{"eth0 eth0.100 ens32 enp0s31f6 eno1 enx00e04c680001 em1 bond0 bond0.5 team0 wlan0 wlp2s0 ib0 veth1a2b3c4d cali0123456789a lxc0a1b eni0123456789a azv1234 gke5 vnet0 tap0", Veth, KindByName},
		{"lan pods x bridge dummy0 flannel.1 vxlan.calico kube-ipvs0 nodelocaldns cilium_host eth en veth", Veth, KindOpen},
	} {
		for name := range strings.FieldsSeq(row.names) {
			require.Equal(t, Device{Name: name, Kind: row.kind, KindFrom: row.from}, deviceNamed(name))
		}
	}
}
