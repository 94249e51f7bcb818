//go:build !core

package view

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/nat/xtables"
)

// inNamespace runs f on a thread in a network namespace of its own; thread and namespace end with it.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	require.Zero(t, os.Geteuid(), "a network namespace needs root")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		defer func() { done <- err }()
		if err == nil {
			f()
		}
	}()
	require.NoError(t, <-done)
}

// kernel speaks with x_tables of the calling thread's namespace.
type kernel struct {
	t      *testing.T
	fd     int
	level  int
	family nat.Family
}

func openKernel(t *testing.T, f nat.Family) kernel {
	t.Helper()
	domain, level := unix.AF_INET, unix.SOL_IP
	if f == nat.IPv6 {
		domain, level = unix.AF_INET6, unix.SOL_IPV6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		t.Error(err)
		runtime.Goexit()
	}
	return kernel{t, fd, level, f}
}

func (k kernel) sockopt(call uintptr, option int, b []byte) unix.Errno {
	n := uint32(len(b))
	arg := uintptr(unsafe.Pointer(&n))
	if call == unix.SYS_SETSOCKOPT {
		arg = uintptr(n)
	}
	_, _, errno := unix.Syscall6(call, uintptr(k.fd), uintptr(k.level), uintptr(option), uintptr(unsafe.Pointer(&b[0])), arg, 0)
	return errno
}

func (k kernel) close() { _ = unix.Close(k.fd) }

// dump reads one table.
func (k kernel) dump(name string) xtables.Blob {
	info := make([]byte, xtables.InfoSize)
	copy(info, name)
	if e := k.sockopt(unix.SYS_GETSOCKOPT, 64, info); e != 0 {
		k.t.Errorf("IPT_SO_GET_INFO %s: %v", name, e)
		return xtables.Blob{}
	}
	b, size, err := xtables.ParseInfo(k.family, info)
	if err != nil {
		k.t.Error(err)
	}
	buf := make([]byte, 40+size)
	copy(buf, name)
	order.PutUint32(buf[32:], size)
	if e := k.sockopt(unix.SYS_GETSOCKOPT, 65, buf); e != 0 {
		k.t.Errorf("IPT_SO_GET_ENTRIES %s: %v", name, e)
	}
	b.Bytes = buf[40:]
	return b
}

// replace writes one table.
func (k kernel) replace(b xtables.Blob) unix.Errno {
	info := make([]byte, xtables.InfoSize)
	copy(info, b.Name)
	if e := k.sockopt(unix.SYS_GETSOCKOPT, 64, info); e != 0 {
		return e
	}
	old := order.Uint32(info[76:])
	counters := make([]byte, 16*old)
	buf := b.Replace(old, uint64(uintptr(unsafe.Pointer(&counters[0]))))
	e := k.sockopt(unix.SYS_SETSOCKOPT, 64, buf)
	runtime.KeepAlive(counters)
	return e
}

type kernelCase struct {
	name   string
	family nat.Family
	text   string
	row    *xt.Extension // whose examples they are, if they are of one
}

// kernelCases are every extension in both families, the rule sets of the views, and what kube-proxy wrote.
func kernelCases(t *testing.T) []kernelCase {
	t.Helper()
	var out []kernelCase
	add := func(name string, f nat.Family, text []byte) {
		c := kernelCase{f.String() + " " + name, f, noRemarks(string(text)), nil}
		if !slices.ContainsFunc(out, func(o kernelCase) bool { return o.family == f && o.text == c.text }) { // releases write the same
			out = append(out, c)
		}
	}
	for pattern, f := range map[string]nat.Family{"testdata/extensions.txt": nat.IPv4, "testdata/extensions6.txt": nat.IPv6, "testdata/views/*/rules.txt": nat.IPv4} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			add(file, f, b)
		}
	}
	goldens, err := filepath.Glob("../../test/testdata/goldens/*/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, goldens)
	slices.Reverse(goldens) // the newest release first
	for _, file := range goldens {
		archive, err := txtar.ParseFile(file)
		require.NoError(t, err)
		name := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		for _, part := range archive.Files {
			switch part.Name {
			case "iptables-save.txt":
				add(name, nat.IPv4, part.Data)
			case "ip6tables-save.txt":
				add(name, nat.IPv6, part.Data)
			}
		}
	}
	return append(out, rowCases(t)...)
}

// The program writes, natlab reads: entries, save and list are the program's own; encoding gives the same bytes.
func TestKernelTablesReadAsTheProgramPrintsThem(t *testing.T) {
	t.Parallel()
	for _, c := range kernelCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inNamespace(t, func() {
				makeObjects(t, c.family, c.text)
				program(t, c.family, "iptables-legacy-restore", c.text)
				if t.Failed() {
					return
				}
				k := openKernel(t, c.family)
				defer k.close()
				names, err := os.ReadFile("/proc/thread-self/net/" + map[nat.Family]string{nat.IPv4: "ip_tables_names", nat.IPv6: "ip6_tables_names"}[c.family])
				if err != nil {
					t.Error(err)
					return
				}
				var tables []xtables.Table
				for name := range strings.FieldsSeq(string(names)) {
					blob := k.dump(name)
					table, err := xtables.Decode(blob)
					if err != nil {
						t.Error(err)
						return
					}
					again, err := table.Encode()
					if err != nil {
						t.Error(err)
					}
					if d := diff(blob, again); d != "" {
						t.Errorf("encode(decode(x)) -x +ours\n%s", d)
					}
					tables = append(tables, table)
					list, _ := View{Version: Version{1, 8, 9}, Sets: testSets}.List(table)
					if d := diff(program(t, c.family, "iptables-legacy", "", "-t", name, "-n", "-L"), list); d != "" {
						t.Errorf("-L -n: -real +ours\n%s", d)
					}
					list, _ = View{Version: Version{1, 8, 9}, Counters: true, Sets: testSets}.List(table)
					if d := diff(program(t, c.family, "iptables-legacy", "", "-t", name, "-n", "-v", "-L"), list); d != "" {
						t.Errorf("-L -n -v: -real +ours\n%s", d)
					}
				}
				text, _ := View{Version: Version{1, 8, 9}, Sets: testSets}.Save(tables...)
				if d := diff(noRemarks(program(t, c.family, "iptables-legacy-save", "")), text); d != "" {
					t.Errorf("save: -real +ours\n%s", d)
				}
				w := xtables.Writer{Family: c.family, Version: Newest, Sets: map[string]uint16{"one": 0}}
				read, err := w.ReadSave(text)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range read {
					clearComefrom(&tables[i])
					if d := diff(tables[i], read[i]); d != "" {
						t.Errorf("from text: -kernel +ours\n%s", d)
					}
				}
			})
		})
	}
}

// natlab writes, the program reads: it prints the very text.
func TestKernelTakesEncodedTables(t *testing.T) {
	t.Parallel()
	for _, c := range kernelCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := xtables.Writer{Family: c.family, Version: Newest, Sets: map[string]uint16{"one": 0}}
			tables, err := w.ReadSave(c.text)
			require.NoError(t, err)
			for i := range tables {
				tables[i] = tables[i].Complete()
			}
			rs := xtables.Ruleset(c.family, testSets, tables...)
			again, err := w.Tables(rs)
			require.NoError(t, err)
			require.Empty(t, diff(tables, again))
			inNamespace(t, func() {
				makeObjects(t, c.family, c.text)
				k := openKernel(t, c.family)
				defer k.close()
				for _, table := range tables {
					blob, err := table.Encode()
					if err != nil {
						t.Error(err)
						return
					}
					if e := k.replace(blob); e != 0 {
						t.Errorf("IPT_SO_SET_REPLACE %s: %v", table.Name, e)
						return
					}
					want, _ := View{Version: Version{1, 8, 9}, Sets: testSets}.Save(table)
					if d := diff(want, noRemarks(program(t, c.family, "iptables-legacy-save", "", "-t", table.Name))); d != "" {
						t.Errorf("-ours +real\n%s", d)
					}
					back, err := xtables.Decode(k.dump(table.Name))
					if err != nil {
						t.Error(err)
						return
					}
					clearComefrom(&back)
					got, again := xtables.Ruleset(c.family, testSets, back), xtables.Ruleset(c.family, testSets, table)
					if got.String() != again.String() {
						t.Errorf("rules from the kernel \n%s", diff(again.String(), got.String()))
					}
					if original, ok := rs.Table(table.Name); ok {
						compareRules(t, original, got.Tables[0])
					}
				}
			})
		})
	}
}

// Rules of an old writer under a new program, which compares revisions: both views are the program's own.
func TestOlderRevisionsAreRefusedByNewerPrograms(t *testing.T) {
	const text = "*nat\n:X - [0:0]\n-A X -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80\n-A X -j CONNMARK --set-xmark 0x1/0x1\nCOMMIT\n"
	tables, err := xtables.Writer{Version: Version{1, 4, 21}}.ReadSave(text)
	require.NoError(t, err)
	table := tables[0].Complete()
	require.EqualValues(t, 0, table.Chains[4].Entries[0].Target.Revision)
	blob, err := table.Encode()
	require.NoError(t, err)
	inNamespace(t, func() {
		k := openKernel(t, nat.IPv4)
		defer k.close()
		if e := k.replace(blob); e != 0 {
			t.Errorf("IPT_SO_SET_REPLACE: %v", e)
			return
		}
		v := View{Version: Version{1, 8, 9}, Sets: testSets}
		save, _ := v.Save(table)
		list, _ := v.List(table)
		if d := diff(noRemarks(program(t, nat.IPv4, "iptables-legacy-save", "")), save); d != "" {
			t.Errorf("-real +ours\n%s", d)
		}
		if d := diff(program(t, nat.IPv4, "iptables-legacy", "", "-t", "nat", "-n", "-L"), list); d != "" {
			t.Errorf("-real +ours\n%s", d)
		}
	})
}

// compareRules compares the chains that the text names, rule by rule.
func compareRules(t *testing.T, want, got iptables.Table) {
	t.Helper()
	for _, c := range want.Chains {
		g, ok := got.Chain(c.Name)
		if !ok || len(g.Rules) != len(c.Rules) {
			t.Errorf("chain %s has %d rules, want %d", c.Name, len(g.Rules), len(c.Rules))
			continue
		}
		for i := range c.Rules {
			if a, b := c.Rules[i].Text(c.Name), g.Rules[i].Text(c.Name); a != b {
				t.Errorf("want %s\ngot  %s", a, b)
			}
		}
	}
}

// testSets is the set that the rows' examples ask, by the number that the first one of a namespace has.
var testSets = map[uint16]string{0: "one"}

// makeObjects makes the nfacct objects that rules name, and the set: the kernel refuses the rules otherwise.
func makeObjects(t *testing.T, f nat.Family, text string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = unix.Close(fd) }()
	send := func(kind uint16, attributes ...[]byte) {
		b := make([]byte, 20)
		for _, a := range attributes {
			b = append(b, a...)
		}
		order.PutUint32(b, uint32(len(b)))
		order.PutUint16(b[4:], kind)
		order.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_CREATE)
		b[16] = unix.NFPROTO_IPV4
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			t.Error(err)
		}
	}
	for _, m := range regexp.MustCompile(`--nfacct-name +(\S+)`).FindAllStringSubmatch(text, -1) {
		send(unix.NFNL_SUBSYS_ACCT<<8, attribute(1, m[1]+"\x00")) // NFACCT_NAME
	}
	if strings.Contains(text, "-set one ") {
		family := string([]byte{unix.NFPROTO_IPV4})
		if f == nat.IPv6 {
			family = string([]byte{unix.NFPROTO_IPV6})
		}
		// IPSET_CMD_CREATE with protocol, name, type, revision, family and no options
		send(unix.NFNL_SUBSYS_IPSET<<8|2, attribute(1, "\x06"), attribute(2, "one\x00"), attribute(3, "hash:ip\x00"), attribute(4, "\x00"),
			attribute(5, family), attribute(7|unix.NLA_F_NESTED, ""))
	}
}

// attribute is a netlink attribute, padded.
func attribute(kind uint16, value string) []byte {
	b := make([]byte, 4, 4+len(value)+3)
	order.PutUint16(b, uint16(4+len(value)))
	order.PutUint16(b[2:], kind)
	b = append(b, value...)
	return b[:(len(b)+3)&^3]
}

// diff is cmp.Diff, which takes its time, for what is not the same.
func diff(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got, sameHeader)
}

func clearComefrom(t *xtables.Table) {
	for i := range t.Chains {
		t.Chains[i].Tail.Comefrom = 0
		for j := range t.Chains[i].Entries {
			t.Chains[i].Entries[j].Comefrom = 0
		}
	}
}
