package vm

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// A kernel as a program has all of netfilter that its source has, but what wants a device that it does not have.
func TestUserModeConfig(t *testing.T) {
	t.Parallel()
	source := fstest.MapFS{}
	for _, dir := range []string{"net/netfilter", "net/ipv4/netfilter", "net/ipv6/netfilter", "net/netfilter/ipset", "net/bridge/netfilter"} {
		source[dir+"/Kconfig"] = &fstest.MapFile{Data: []byte("menu \"x\"\n\nconfig ONLY_" + strings.ToUpper(strings.NewReplacer("/", "_").Replace(dir)) + "\n\tbool\n")}
	}
	source["net/netfilter/Kconfig"] = &fstest.MapFile{Data: []byte("menuconfig NF_TABLES_NEW\n\ttristate\n\nconfig NF_CONNTRACK_SIP\n\tdepends on NF_CONNTRACK\n\n  config NETFILTER_XT_TARGET_LED\n\nif NF_TABLES\nconfig NFT_NEW\n")}
	text, err := userModeConfig(source)
	require.NoError(t, err)
	rest, ok := strings.CutPrefix(text, userModeBase)
	require.True(t, ok, "the base comes first")
	require.Equal(t, []string{
		"CONFIG_NF_TABLES_NEW=y", "CONFIG_NFT_NEW=y", "CONFIG_ONLY_NET_IPV4_NETFILTER=y", "CONFIG_ONLY_NET_IPV6_NETFILTER=y",
		"CONFIG_ONLY_NET_NETFILTER_IPSET=y", "CONFIG_ONLY_NET_BRIDGE_NETFILTER=y",
	}, strings.Fields(rest))

	delete(source, "net/ipv6/netfilter/Kconfig")
	_, err = userModeConfig(source)
	require.ErrorContains(t, err, "net/ipv6/netfilter/Kconfig")
}

func TestBuiltFile(t *testing.T) {
	t.Parallel()
	for _, row := range [][2]string{
		{"linux-source-6.1/", ""},
		{"linux-source-6.1/Makefile", "Makefile"},
		{"linux-source-6.1/arch/um/kernel/exec.c", "arch/um/kernel/exec.c"},
		{"linux-source-6.1/arch/x86/um/ldt.c", "arch/x86/um/ldt.c"},
		{"linux-source-6.1/arch/arm64/kernel/entry.S", ""},
		{"linux-source-6.1/arch/arm64/Kconfig", "arch/arm64/Kconfig"},
		{"linux-source-6.1/Documentation/Kconfig", "Documentation/Kconfig"},
		{"linux-source-6.1/Documentation/networking/nf_conntrack-sysctl.rst", ""},
		{"linux-source-6.1/drivers/gpu/drm/drm_drv.c", ""},
		{"linux-source-6.1/drivers/gpu/Makefile", "drivers/gpu/Makefile"},
		{"linux-source-6.1/drivers/net/tun.c", "drivers/net/tun.c"},
		{"linux-source-6.1/tools/testing/selftests/Makefile", ""},
	} {
		require.Equal(t, row[1], builtFile(row[0]), row[0])
	}
}

// The lines of a kernel as a program are the files that it is given, in the order in which it is given them.
func TestUserModeArgs(t *testing.T) {
	t.Parallel()
	args := machine{accel: AccelUML, memoryMiB: 700, initrd: "some/initrd"}.userModeArgs()
	for _, want := range []string{"mem=700M", "initrd=some/initrd", "ssl0=null,fd:3", "ssl1=null,fd:4", "console=ttyS0", "rdinit=/init"} {
		require.Contains(t, args, want)
	}
}
