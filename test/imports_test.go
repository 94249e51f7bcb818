package test

import (
	"bufio"
	"bytes"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// room is a package and what of ours it imports, test files aside.
type room struct{ pkg, imports string }

// house is every arrow between our packages, from the ground up: a room stands on rooms that are listed before it. An arrow
// that is not here is a fault, and so is one that is here and that no file has any more: what may be imported is what is.
var house = []room{
	// No root, no kernel, no clock. nat is the vocabulary, topology the cluster as data.
	{"topology", ""},
	{"topology/topologytest", "topology"},
	{"topology/kube", "topology"}, // a cluster as Kubernetes objects, and as kubectl lists them
	{"topology/near", ""},         // the name that was meant by one that is not there
	{"topology/dump", ""},         // what a node's programs print, taken apart
	{"nat", ""},
	{"nat/packet", "nat"},
	{"nat/conntrack", "nat"},
	{"nat/behaviour", "nat nat/conntrack"}, // a NAT other than Linux's
	{"nat/service", "nat topology"},        // what the objects mean: it knows no rules and no data plane
	{"nat/rules", "nat nat/packet"},        // what any rule language shows the gateway
	{"nat/xt", "nat nat/packet nat/rules"}, // an extension a file
	{"nat/iptables", "nat nat/rules nat/xt"},
	{"nat/xtables", "nat nat/iptables nat/xt"},
	{"nat/view", "nat nat/iptables nat/xt nat/xtables"}, // what programs print of a table
	{"nat/nftables", "nat nat/rules"},                   // nf_tables' rules, as nft lists them
	{"nat/nftnl", "nat nat/nftables nat/rules"},         // and as netlink has them
	{"nat/kubeproxy", "nat nat/iptables nat/nftables nat/rules nat/xt topology topology/near"},
	{"nat/portmap", "nat nat/iptables nat/rules nat/xt topology"},
	{"nat/ipset", "nat nat/rules"},
	{"nat/gateway", "nat nat/behaviour nat/conntrack nat/ipset nat/iptables nat/nftables nat/packet nat/rules nat/xt topology"},
	{"nat/diagnosis", "nat nat/gateway nat/iptables nat/xt topology topology/near"},                                                    // in a word whether a packet works, and what is to blame
	{"nat/bundle", "nat nat/conntrack nat/diagnosis nat/gateway nat/ipset nat/iptables nat/nftables nat/rules topology topology/dump"}, // a node as its dumps tell it
	{"nat/audit", "nat nat/iptables nat/kubeproxy nat/nftables nat/rules nat/view nat/xt nat/xtables topology"},
	// The proof holds the emulator to account: neither it nor its reports know gateway or conntrack.
	{"nat/proof", "nat nat/service topology"},
	{"nat/migrate", "nat nat/gateway nat/iptables nat/kubeproxy nat/nftables nat/packet nat/portmap nat/proof nat/xt topology"}, // one cluster in two modes of kube-proxy
	{"nat/live", "nat nat/proof topology"}, // flows as they pass
	{"nat/portuse", "nat"},                 // source ports in use over time
	{"nat/report", "nat nat/live nat/portuse nat/proof"},
	{"nat/twin", "nat nat/bundle nat/diagnosis nat/gateway nat/proof topology"}, // the plan of a lab of dumped nodes

	// The kernel, each part of it by one room. The witness does not know the emulator either.
	{"lab/sysctl", ""}, // of a namespace, where a container has them read-only as well
	{"lab/netns", "lab/sysctl"},
	{"lab/rootless", ""}, // a user namespace for who is not root
	{"lab/tunnel", ""},
	{"lab/vm", ""},
	{"lab/traffic", "nat nat/packet"},
	{"lab/dataplane", "nat nat/iptables nat/nftables nat/nftnl nat/xt nat/xtables"},
	{"lab/nft", "lab/dataplane nat nat/kubeproxy nat/nftables nat/nftnl topology"},
	{"lab/nfqueue", ""},
	{"lab/witness", "lab/nfqueue lab/sysctl nat nat/iptables nat/nftables nat/proof nat/xt topology"},
	{"lab/realise", "lab/netns lab/sysctl lab/tunnel topology"},
	{"lab/userspace", "lab/netns lab/nfqueue lab/realise nat nat/behaviour nat/conntrack nat/gateway nat/packet nat/proof nat/rules"}, // the emulator, on the wire
	// These look at any machine and know no lab.
	{"lab/doctor", "lab/dataplane lab/netns lab/witness nat nat/iptables"},
	{"lab/inspect", "lab/dataplane lab/netns lab/realise lab/witness nat nat/audit nat/iptables nat/kubeproxy nat/nftables nat/view nat/xtables topology"},
	{"lab/replay", "lab/dataplane lab/witness nat nat/bundle nat/iptables nat/nftnl"}, // what a bundle tells of a node, into a namespace
	{"lab/apiserver", "topology topology/kube"},                                       // the Kubernetes API as far as kube-proxy reads it
	{"lab/proxy", "lab/apiserver lab/netns topology"},
	{"lab", "lab/dataplane lab/netns lab/nft lab/proxy lab/realise lab/replay lab/rootless lab/traffic lab/tunnel lab/userspace lab/witness nat nat/behaviour nat/bundle nat/gateway nat/ipset nat/iptables nat/kubeproxy nat/nftables nat/portmap nat/rules nat/twin topology topology/near"},
	// These stand on a lab.
	{"lab/verify", "lab lab/dataplane lab/netns lab/realise lab/traffic lab/witness nat nat/conntrack nat/diagnosis nat/gateway nat/ipset nat/iptables nat/kubeproxy nat/nftables nat/portmap nat/proof nat/rules nat/service nat/twin topology topology/near"},
	{"lab/outcome", "lab lab/netns lab/traffic nat"},
	{"lab/watch", "lab lab/dataplane lab/netns lab/nft lab/witness nat nat/iptables nat/live nat/nftables nat/portuse topology"},
	{"lab/serve", "nat/live nat/proof nat/report"}, // it is told what a lab does
	{"lab/labtest", "lab lab/proxy lab/rootless lab/verify nat/proof nat/report topology"},

	{"scenarios", "lab lab/dataplane lab/doctor lab/inspect lab/proxy lab/sysctl lab/traffic lab/userspace lab/witness nat nat/gateway nat/iptables nat/kubeproxy nat/packet nat/proof nat/report nat/view topology topology/near"},
	{"scenarios/conformance", "lab lab/netns lab/traffic nat scenarios topology"}, // the upstream end-to-end tests, on one lab
	{
		"cmd/natlab", "lab lab/dataplane lab/doctor lab/inspect lab/netns lab/outcome lab/proxy lab/rootless lab/serve lab/userspace lab/verify lab/vm lab/watch lab/witness nat nat/audit nat/behaviour nat/bundle nat/conntrack nat/diagnosis nat/gateway nat/ipset nat/iptables" +
			" nat/kubeproxy nat/live nat/migrate nat/nftables nat/portmap nat/portuse nat/proof nat/report nat/twin nat/view nat/xtables scenarios scenarios/conformance topology topology/dump topology/kube topology/near",
	},
	{"test", ""},
	{"test/browser", ""},
	{"test/vm", ""},
}

// doors are the packages of others, and which of ours alone imports each, test files aside: only lab/netns enters a
// namespace, only the witness hears ctnetlink and nfnetlink, and no netlink library is above lab's parts.
var doors = map[string]string{
	"github.com/cavaliergopher/cpio":             "lab/vm",
	"github.com/florianl/go-nfqueue/v2":          "lab/witness",
	"github.com/gaissmai/bart":                   "nat/gateway",
	"github.com/google/nftables":                 "lab/dataplane lab/nfqueue lab/userspace lab/witness",
	"github.com/google/nftables/expr":            "lab/nfqueue lab/userspace lab/witness",
	"github.com/google/nftables/xt":              "lab/nfqueue lab/userspace",
	"github.com/gopacket/gopacket":               "nat/report",
	"github.com/gopacket/gopacket/layers":        "nat/report",
	"github.com/gopacket/gopacket/pcapgo":        "nat/report",
	"github.com/klauspost/compress/zstd":         "lab/vm",
	"github.com/mdlayher/netlink":                "lab/dataplane lab/witness",
	"github.com/rogpeppe/go-internal/testscript": "scenarios",
	"github.com/rogpeppe/go-internal/txtar":      "scenarios",
	"github.com/spf13/cobra":                     "cmd/natlab",
	"github.com/spf13/cobra/doc":                 "cmd/natlab",
	"github.com/spf13/pflag":                     "cmd/natlab",
	"github.com/therootcompany/xz":               "lab/vm",
	"github.com/ti-mo/conntrack":                 "lab/witness",
	"github.com/vishvananda/netlink":             "lab/doctor lab/netns lab/realise lab/witness",
	"github.com/vishvananda/netlink/nl":          "lab/realise lab/witness",
	"github.com/vishvananda/netns":               "lab/netns",
	"go.yaml.in/yaml/v2":                         "topology",
	"golang.org/x/sync/errgroup":                 "lab lab/outcome lab/proxy lab/realise lab/verify lab/witness",
	"golang.org/x/sys/unix":                      "lab lab/dataplane lab/doctor lab/inspect lab/netns lab/nfqueue lab/outcome lab/proxy lab/realise lab/rootless lab/sysctl lab/traffic lab/tunnel lab/userspace lab/verify lab/vm lab/witness",
	"golang.org/x/term":                          "cmd/natlab lab",
	"k8s.io/api/core/v1":                         "cmd/natlab lab/apiserver topology topology/kube",
	"k8s.io/api/discovery/v1":                    "lab/apiserver topology topology/kube",
	"k8s.io/api/networking/v1":                   "lab/apiserver",
	"k8s.io/apimachinery/pkg/apis/meta/v1":       "cmd/natlab lab/apiserver topology/kube",
	"k8s.io/apimachinery/pkg/fields":             "lab/apiserver",
	"k8s.io/apimachinery/pkg/labels":             "lab/apiserver",
	"k8s.io/apimachinery/pkg/runtime":            "cmd/natlab lab/apiserver topology/kube",
	"k8s.io/apimachinery/pkg/runtime/schema":     "lab/apiserver",
	"k8s.io/apimachinery/pkg/runtime/serializer": "lab/apiserver",
	"k8s.io/apimachinery/pkg/types":              "lab/apiserver",
	"k8s.io/apimachinery/pkg/util/intstr":        "topology/kube",
	"k8s.io/apimachinery/pkg/watch":              "lab/apiserver",
	"k8s.io/cli-runtime/pkg/printers":            "cmd/natlab",
	"sigs.k8s.io/json":                           "topology",
	"sigs.k8s.io/yaml":                           "scenarios topology",
}

// impure is what topology and nat do without: files come as io.Reader, time as an argument, chance as an interface.
var impure = []string{"os", "os/exec", "os/signal", "net", "net/http", "syscall", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog"}

// The arrows are those of the house, all of them point downward, and none is allowed that is not there.
func TestHouse(t *testing.T) {
	there := importsOf(t, "linux")
	listed := map[string]bool{}
	for _, r := range house {
		imports, ok := there[r.pkg]
		if !ok {
			t.Errorf("the house has a room %s, and there is no such package: take it out of the list", r.pkg)
		}
		want := strings.Fields(r.imports)
		for _, below := range want {
			if !listed[below] {
				t.Errorf("%s stands on %s, which is not listed before it", r.pkg, below)
			}
		}
		listed[r.pkg] = true
		diffArrows(t, r.pkg, want, ours(imports))
	}
	for pkg, imports := range there {
		if !listed[pkg] {
			t.Errorf("package %s is no room of the house: add it, with what it stands on", pkg)
		}
		for _, i := range imports {
			if pure(pkg) && slices.Contains(impure, i) {
				t.Errorf("%s is pure and imports %s", pkg, i)
			}
		}
	}
}

// What others made comes in by its doors, and every door is used.
func TestDoors(t *testing.T) {
	users := map[string][]string{}
	for pkg, imports := range importsOf(t, "linux") {
		for _, i := range imports {
			if foreign(i) {
				users[i] = append(users[i], pkg)
			}
		}
	}
	for door, through := range users {
		for _, pkg := range through {
			if !slices.Contains(strings.Fields(doors[door]), pkg) {
				t.Errorf("%s imports %s, which is for %q", pkg, door, doors[door])
			}
		}
	}
	for door, owners := range doors {
		for pkg := range strings.FieldsSeq(owners) {
			if !slices.Contains(users[door], pkg) {
				t.Errorf("%s has a door to %s and does not use it", pkg, door)
			}
		}
	}
}

func diffArrows(t *testing.T, pkg string, want, got []string) {
	t.Helper()
	for _, below := range got {
		if !slices.Contains(want, below) {
			t.Errorf("%s imports %s, which is no arrow of the house", pkg, below)
		}
	}
	for _, below := range want {
		if !slices.Contains(got, below) {
			t.Errorf("the house has an arrow from %s to %s, and no file has it", pkg, below)
		}
	}
}

// module begins the path of each package of ours: whoever hosts it may give it another one.
var module = strings.TrimSuffix(reflect.TypeFor[nat.Tuple]().PkgPath(), "nat")

// ours are the imports that are packages of ours.
func ours(imports []string) (out []string) {
	for _, i := range imports {
		if pkg, ok := strings.CutPrefix(i, module); ok {
			out = append(out, pkg)
		}
	}
	return out
}

// foreign reports whether a package is neither ours nor the standard library's.
func foreign(pkg string) bool {
	root, _, _ := strings.Cut(pkg, "/")
	return strings.Contains(root, ".")
}

func pure(pkg string) bool {
	root, _, _ := strings.Cut(pkg, "/")
	return root == "nat" || root == "topology"
}

// The core builds where there is no Linux, and knows of nothing above it there either.
func TestCoreIsPortable(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "build", "./topology/...", "./nat/...")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS=darwin", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// The tests that make test-core runs need no root, no program and no network: what asks the kernel has the build constraint
// !core, and stands for that alone.
func TestCoreTestsNeedNoRoot(t *testing.T) {
	needsKernel := []string{"os/exec", "syscall", "golang.org/x/sys/unix", "net", "net/http"}
	var files []string
	for _, room := range []string{"../topology", "../nat"} {
		require.NoError(t, filepath.WalkDir(room, func(path string, _ os.DirEntry, err error) error {
			if strings.HasSuffix(path, "_test.go") {
				files = append(files, path)
			}
			return err
		}))
	}
	require.NotEmpty(t, files)
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		require.NoError(t, err)
		var asks []string
		for _, i := range f.Imports {
			if name, err := strconv.Unquote(i.Path.Value); err == nil && slices.Contains(needsKernel, name) {
				asks = append(asks, name)
			}
		}
		core := true
		for _, group := range f.Comments {
			for _, line := range group.List {
				if x, err := constraint.Parse(line.Text); err == nil && line.Pos() < f.Package {
					core = core && x.Eval(func(tag string) bool { return tag == "core" || tag == "linux" })
				}
			}
		}
		if core == (len(asks) > 0) {
			t.Errorf("%s: in make test-core: %t; imports that need a kernel: %q", path, core, asks)
		}
	}
}

func TestTopLevel(t *testing.T) {
	known := []string{"cmd", "lab", "nat", "topology", "scenarios", "test", "bin", "go.mod", "go.sum", "Makefile", "README.md", "LICENSE"}
	entries, err := os.ReadDir("..")
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(known, e.Name()) {
			t.Errorf("%s lies at the top level, where only %s belong", e.Name(), strings.Join(known, " "))
		}
	}
	for _, name := range []string{".ci/run", ".ci/deps"} {
		info, err := os.Stat(filepath.Join("..", name))
		require.NoError(t, err)
		require.NotZero(t, info.Mode()&0o111, "%s has no run bit", name)
	}
}

// The lab's root keeps to the life of a lab: what is more than that is a room below it.
func TestLabsRoot(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../lab/*.go")
	require.NoError(t, err)
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	require.NotEmpty(t, files)
	require.LessOrEqual(t, len(files), 15, "%v", files)
}

// importsOf lists what each package of ours imports, test files aside.
func importsOf(t *testing.T, goos string) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS="+goos)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, problems.String())
	all := map[string][]string{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		all[strings.TrimPrefix(words[0], module)] = words[1:]
	}
	require.Contains(t, all, "nat")
	return all
}
