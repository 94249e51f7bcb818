package topology

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// kube-proxy reads the section of its own mode, and in nftables mode nothing is served on 127.0.0.1.
func TestModes(t *testing.T) {
	t.Parallel()
	const both = "iptables: {masqueradeAll: true, masqueradeBit: 5}\nnftables: {masqueradeBit: 7}\n"
	for _, row := range []struct {
		config   string
		mode     string
		all      bool
		bit      int32
		localnet bool
	}{
		{both, "", true, 5, true},
		{"mode: iptables\n" + both, "", true, 5, true},
		{"mode: nftables\n" + both, ModeNFTables, false, 7, false},
		{"mode: nftables\nnodePortAddresses: [localhost]\n", ModeNFTables, false, -1, false},
	} {
		t.Run(row.config, func(t *testing.T) {
			t.Parallel()
			c, _ := load(t, with(), "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"+row.config)
			require.Equal(t, row.mode, c.KubeProxy.Mode)
			require.Equal(t, row.all, c.KubeProxy.MasqueradeAll)
			require.Equal(t, row.bit, c.KubeProxy.MasqueradeBit)
			require.Equal(t, row.localnet, c.KubeProxy.routesLocalnet())
		})
	}
}

// A patch release is kept where the Lab document or the node names one.
func TestVersion(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"v1.33": "", "1.33.4": "v1.33.4", "v1.33.1+k3s1": "v1.33.1", "v1.30.9-eks-5d632ec": "v1.30.9"} {
		c, _ := load(t, with(), "{apiVersion: natlab/v1alpha1, kind: Lab, metadata: {name: x}, spec: {kubeProxy: {release: "+given+"}}}\n")
		require.Equal(t, want, c.KubeProxy.Version, given)
	}
	require.Empty(t, PatchOf("latest"))
}

func TestServiceCIDRs(t *testing.T) {
	t.Parallel()
	of := func(name, cidrs string) string {
		return "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: " + name + "}, spec: {cidrs: [" + cidrs + "]}}\n"
	}
	c, warnings := load(t, with(), of("more", `10.112.0.0/16, "fd00:10:96::/108"`), of("kubernetes", "10.96.0.0/12"))
	require.Empty(t, warnings)
	require.Equal(t, []netip.Prefix{prefix("10.96.0.0/12"), prefix("10.112.0.0/16"), prefix("fd00:10:96::/108")}, c.ServiceCIDRs)
}
