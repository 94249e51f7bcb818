package nftables_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/nftables"
	"natlab/nat/nftnl"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

var update = flag.Bool("update", false, "write the tables of README.md")

// statements are what nft has (nft(8), STATEMENTS), with an example of each.
var statements = []string{
	"accept", "drop", "continue", "return", "jump other", "goto other", "jump {\n\t\t\taccept\n\t\t}", "ip saddr vmap { 10.0.0.2 : drop }",
	"queue to 3", `log prefix "x"`, "reject", "reject with tcp reset",
	"counter", `counter name "n"`, "limit rate 5/second", `limit name "l"`, "quota 100 bytes", `quota name "q"`, "ct count 20", "last",
	"meta mark set 0x1", "ct mark set 0x1", "ct label set 3", "meta priority set 1:2", "meta nftrace set 1", "meta pkttype set host", "meta rtclassid set 7", "ct zone set 3", "ct helper set \"ftp\"", "ct timeout set \"t\"",
	"ct expectation set \"e\"", "ct event set new", "notrack",
	"ip ttl set 5", "ip dscp set cs1", "ip daddr set 10.0.0.9", "tcp dport set 81", "@th,0,16 set 5", "tcp option maxseg size set 536", "tcp option maxseg size set rt mtu", "reset tcp option sack-perm",
	"exthdr hbh exists",
	"dnat to 10.0.0.9:80", "snat to 10.0.0.9", "masquerade", "redirect to :80", "dnat ip prefix to ip daddr map { 10.0.0.0/24 : 10.1.0.0/24 }", "dnat to ip saddr map @ends",
	"add @seen { ip saddr }", "update @seen { ip saddr limit rate over 1/day burst 2 packets }", "delete @seen { ip saddr }", "update @learnt { ip saddr : 0x1 }",
	"tproxy to :80", "synproxy mss 1460 wscale 7", "flow add @f", `dup to 10.0.0.9`, `fwd to "eth1"`, "meter m { ip saddr limit rate 5/second }",
	`xt match "comment"`, `xt target "MARK"`, `xt target "LOG"`, `xt target "MASQUERADE"`,
}

// expressions are what nft compares and sets, with an example of each.
var expressions = []string{
	"ip saddr 10.0.0.2", "ip saddr != 10.0.0.0/8", "tcp dport 80-90", "tcp dport { 80, 443-500 }", "ip saddr @hosts", "ip saddr @seen", "ip saddr . tcp dport @nets", "ip saddr . tcp dport { 10.0.0.2 . 80 }",
	"tcp flags syn,ack", "tcp flags & (syn | ack) == syn", "meta mark & 0xff == 0x10", "meta mark set meta mark | 0x4000", "meta mark set meta mark << 2", "meta mark set ip saddr map @marks",
	"fib daddr type local", "fib saddr . iif oif missing", `fib daddr oifname "eth0"`, "fib daddr check exists",
	"numgen random mod 2 0", "numgen inc mod 2 0", "jhash ip saddr mod 2 seed 0x7 0", "jhash ip saddr mod 2 0", "symhash mod 2 0",
	"@th,16,16 80", "@nh,96,32 0x0a000002", "@ih,0,8 1", "@ll,0,48 1",
	"rt mtu 1360", "rt nexthop 10.0.0.9", "socket transparent 1", `osf name "Linux"`, "ipsec in reqid 1", "tunnel path 0", "tcp option sack-perm exists", "ip option rr exists", "sctp chunk data exists",
	"ct state established", "ct original ip daddr 10.0.0.1", "ct bytes > 100", "meta skuid 0", "meta ipsec missing", "meta cgroup 5", "meta cpu 0", `meta hour "10:00"-"12:00"`, "ether saddr 02:00:00:00:00:01",
}

// knowing is a World that knows what a node's emulator knows.
type knowing struct {
	established
	rules.Rememberer
	asked, chosen int
}

func (k *knowing) Memory() *rules.Memory             { return k.memory }
func (k *knowing) Now() time.Time                    { return k.now }
func (k *knowing) PathMTU(*rules.Packet) (int, bool) { return 1400, true }
func (k *knowing) Ethernet(string) rules.Answer      { return rules.Yes }
func (k *knowing) Sender() string                    { return "02:00:00:00:00:01" }
func (k *knowing) IPsec(*rules.Packet, bool) rules.Answer {
	return rules.No
}

func (k *knowing) Take(float64) bool {
	k.chosen++
	return false
}

func (k *knowing) Unknown(string) bool {
	k.asked++
	return false
}

// around is the table that an example stands in, with what it refers to.
func around(t *testing.T, example string) *nftables.Table {
	t.Helper()
	rs, err := nftables.ParseText("table ip t {" + sets + `
	map ends {
		type ipv4_addr : ipv4_addr
		elements = { 10.0.0.2 : 10.0.0.9 }
	}
	map learnt {
		type ipv4_addr : mark
		size 9
		flags dynamic
	}
	limit l {
		rate 5/second
	}
	quota q {
		over 100 bytes
	}
	chain other {
		drop
	}
	chain c {
		type filter hook forward priority filter; policy accept;
		` + example + "\n\t}\n}\n")
	require.NoError(t, err, example)
	require.Len(t, rs.Tables[0].Chains[1].Rules, 1, example)
	return &rs.Tables[0]
}

// outcome is what becomes of an example: of one packet alone, or where earlier packets are remembered.
func outcome(t *testing.T, example string, remembers bool) string {
	t.Helper()
	either, ends, passed := "either way", "no further", "passed over"
	if remembers {
		either, ends, passed = "does not match", "dropped", "left out"
	}
	table := around(t, example)
	state := rules.New
	if example == "notrack" { // in front of conntrack
		state = 0
	}
	p, w := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80"), &knowing{}
	p.State = state
	p.Wire = packet.Build(p.Tuple, packet.Fields{TCP: packet.TCP{Flags: 2, Options: []byte{2, 4, 5, 180}}})
	if w.now = time.Unix(1_800_000_000, 0); remembers {
		w.memory = &rules.Memory{}
	}
	before := p.Clone()
	verdict, effect := nftables.Compile(table, nat.IPv4).Run("c", nat.Forward, &p, w, nil, nil)
	_, open := effect.(*rules.Open)
	all := table.Chains[1].Rules[0].Statements
	switch _, asks := all[len(all)-1].(nftables.Match); {
	case w.asked > 0 && remembers && verdict != nat.Accept:
		return ends
	case w.asked > 0:
		return either
	case open:
		return ends
	case w.chosen > 0 && !remembers:
		return either
	case verdict != nat.Accept, effect != nil, !reflect.DeepEqual(before, p), w.memory != nil && !reflect.DeepEqual(w.memory, &rules.Memory{}), asks, plainVerdict(all):
		return "yes"
	}
	return passed
}

// plainVerdict reports whether a rule's last statement is a verdict, of which some do what the chain's end does.
func plainVerdict(all []nftables.Statement) bool {
	_, is := all[len(all)-1].(*nftables.Verdict)
	return is
}

// read reports whether nothing of an example is kept as it is written.
func read(t *testing.T, example string) string {
	t.Helper()
	for _, s := range around(t, example).Chains[1].Rules[0].Statements {
		if _, opaque := s.(nftables.Opaque); opaque {
			return "as it is written"
		}
		for _, e := range nftables.Expressions(s) {
			_, other := e.(nftables.Other)
			c, _ := e.(nftables.Constant)
			if other || c.Raw != "" && c.Raw != "exists" && c.Raw != "missing" {
				return "in part"
			}
		}
	}
	return "yes"
}

// written reports whether natlab gives the example to the kernel by netlink, without the nft program.
func written(t *testing.T, example string) string {
	t.Helper()
	if _, err := nftnl.Encode(nftnl.Whole(around(t, example))); err != nil {
		require.ErrorIs(t, err, nftnl.ErrUnwritten, example)
		return "no"
	}
	return "yes"
}

func table4(t *testing.T, title string, examples []string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | read | one packet | packet by packet | netlink |\n|---|---|---|---|---|\n", title)
	for _, e := range examples {
		line := strings.ReplaceAll(strings.Join(strings.Fields(e), " "), "|", `\|`)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", line, read(t, e), outcome(t, e, false), outcome(t, e, true), written(t, e))
	}
	return b.String()
}

// selectorTable has a row for each header or kind of selectors.
func selectorTable() string {
	known, unknown := nftables.Known()
	var order []string
	rows := map[string]*[2][]string{}
	for i, all := range [][]string{known, unknown} {
		for _, name := range all {
			of, rest, _ := strings.Cut(name, " ")
			if rows[of] == nil {
				rows[of] = &[2][]string{}
				order = append(order, of)
			}
			rows[of][i] = append(rows[of][i], rest)
		}
	}
	slices.Sort(order)
	var b strings.Builder
	b.WriteString("| | known | not known |\n|---|---|---|\n")
	for _, of := range order {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", of, strings.Join(rows[of][0], ", "), strings.Join(rows[of][1], ", "))
	}
	return b.String()
}

// The page's tables are what the code does with each statement and expression; -update writes them.
func TestPage(t *testing.T) {
	t.Parallel()
	const page, from, to = "README.md", "<!-- table: %s -->\n", "<!-- end -->"
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	want := string(b)
	for name, text := range map[string]string{
		"statements": table4(t, "statement", statements), "expressions": table4(t, "expression", expressions), "selectors": selectorTable(),
	} {
		before, rest, found := strings.Cut(want, fmt.Sprintf(from, name))
		require.True(t, found, name)
		_, after, found := strings.Cut(rest, to)
		require.True(t, found, name)
		want = before + fmt.Sprintf(from, name) + text + to + after
	}
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o600))
		return
	}
	require.Equal(t, want, string(b), "go test ./nat/nftables -run TestPage -update writes the page")
}

// The page has an example of every type of statement and of expression that the package has, and of every word that a statement begins with.
func TestPageIsWhole(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	for _, example := range slices.Concat(statements, expressions) {
		for _, s := range around(t, example).Chains[1].Rules[0].Statements {
			have["statement "+reflect.TypeOf(s).String()] = true
			for _, e := range nftables.Expressions(s) {
				have["expr "+reflect.TypeOf(e).String()] = true
			}
		}
	}
	for _, name := range implementing(t, "statement", "expr") {
		require.True(t, have[name], "no example of a %s", name)
	}
	for _, word := range nftables.Words() {
		begins := func(e string) bool { return e == word || strings.HasPrefix(e, word+" ") }
		require.True(t, slices.ContainsFunc(statements, begins), "no example of %s", word)
	}
}

// implementing are the package's types that have one of some methods, as "method *package.Type"; what the parser does not make is left out.
func implementing(t *testing.T, methods ...string) (out []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range f.Decls {
			fn, is := d.(*ast.FuncDecl)
			if !is || fn.Recv == nil || !slices.Contains(methods, fn.Name.Name) {
				continue
			}
			pointer, of := "", fn.Recv.List[0].Type
			if star, is := of.(*ast.StarExpr); is {
				pointer, of = "*", star.X
			}
			name := of.(*ast.Ident).Name
			if name == "parser" || name == "jsonWriter" || name == "Other" { // of which netlink and JSON alone make one
				continue
			}
			out = append(out, fn.Name.Name+" "+pointer+"nftables."+name)
		}
	}
	require.Greater(t, len(out), 20)
	return out
}
