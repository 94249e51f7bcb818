package userspace

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"natlab/lab/nfqueue"
	"natlab/nat"
)

// tableName is the table of the gateway's own, one a family.
const tableName = "natlab-gateway"

// families are the table's, in the order of nat.Family.
var families = [...]nftables.TableFamily{nat.IPv4: nftables.TableFamilyIPv4, nat.IPv6: nftables.TableFamilyIPv6}

// priorities are where packets are handed over: in front of the kernel's conntrack, and behind the witness's first tap (-310) and in front of
// its others (-90, 310), so that they see what the gateway made.
var priorities = [...]nftables.ChainPriority{nat.PreRouting: -300, nat.Input: 0, nat.Forward: 0, nat.Output: -300, nat.PostRouting: 300}

// design is what the gateway's tables are to be.
type design struct {
	queues   uint16
	feeds    map[nat.Family][]nat.Hook
	failOpen bool
	byMark   bool
	sets     map[kind]*nftables.Set // made with the tables
	offload  bool
	came     map[lane]*nftables.Set // likewise
	routed   map[lane]*nftables.Set // likewise

	joins [2]bool // fragments of a family are put together

	native, defrag bool // what the kernel has
}

// makeTables replaces the gateway's tables in the namespace of this thread, in one transaction:
//
//	defrag        -m socket: nobody jumps there, but for its sake the kernel puts fragments together, where the rules ask for conntrack
//	PREROUTING    notrack, TCP and UDP queue num 28258, all else queue num 28257
//	OUTPUT        notrack, queue num 28257
//	and so on     as PREROUTING, without notrack
//
// and where verdicts are carried out by mark, behind each a chain with the rules of addRewriting. Else all go to 28257. Of several queues there are as many from 28257
// on, and behind them as many in place of 28258. Where flows are offloaded, the rules of
// addWayRules stand in front of what hands packets over.
// notrack keeps packets from the kernel's conntrack where other rules of the namespace ask for that. What the kernel does not have of it is
// left out and noted.
func makeTables(d *design) (notes []string, err error) {
	if d.native, err = nfqueue.Native(); err != nil {
		return nil, fmt.Errorf("look for nf_tables' queue expression: %w", err)
	}
	d.defrag = true
	err = fillTables(d)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		notes = append(notes, "the kernel does not put fragments together for the gateway (no -m socket): it does so itself for IPv4, and drops those of IPv6")
		d.defrag = false
		err = fillTables(d)
	}
	if err != nil {
		return nil, fmt.Errorf("make the tables %s: %w", tableName, err)
	}
	return notes, nil
}

func fillTables(d *design) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	for _, family := range families {
		t := &nftables.Table{Name: tableName, Family: family}
		c.AddTable(t) // so that the delete finds one
		c.DelTable(t)
	}
	for family, hooks := range d.feeds {
		t := c.AddTable(&nftables.Table{Name: tableName, Family: families[family]})
		if d.defrag && d.joins[family] {
			chain := c.AddChain(&nftables.Chain{Name: "defrag", Table: t})
			info := xt.Unknown{0} // struct xt_socket_mtinfo1: flags
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{&expr.Match{Name: "socket", Rev: 1, Info: &info}}})
		}
		if d.byMark {
			if err := d.addMaps(c, t, family); err != nil {
				return err
			}
		}
		if d.offload {
			if err := d.addWays(c, t, family); err != nil {
				return err
			}
		}
		for _, hook := range hooks {
			d.addFeed(c, t, family, hook)
			if _, ok := replaces(hook); ok && d.byMark {
				d.addRewriting(c, t, family, hook)
			}
		}
	}
	return c.Flush()
}

// addFeed adds the chain of a hook that hands packets over.
func (d *design) addFeed(c *nftables.Conn, t *nftables.Table, family nat.Family, hook nat.Hook) {
	chain := c.AddChain(&nftables.Chain{
		Name: strings.ToLower(hook.String()), Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: new(nftables.ChainHook(hook)), Priority: new(priorities[hook]),
	})
	add := func(e ...expr.Any) { c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: e}) }
	if hook == nat.PreRouting || hook == nat.Output {
		add(&expr.Notrack{})
	}
	if d.offload && waysAt(hook) {
		d.addWayRules(c, t, chain, family, hook)
	}
	feed := func(number uint16) expr.Any {
		return nfqueue.Feed{Number: number, Total: d.queues, Bypass: d.failOpen, Native: d.native}.Expr()
	}
	if d.byMark && hook != nat.Output {
		for _, proto := range []nat.Proto{nat.TCP, nat.UDP} {
			add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(proto)}}, feed(QueueNumber+d.queues))
		}
	}
	add(feed(QueueNumber))
}

// removeTables deletes the gateway's tables from the namespace of this thread; those that are not there are no error.
func removeTables() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	for _, family := range families {
		t := &nftables.Table{Name: tableName, Family: family}
		c.AddTable(t)
		c.DelTable(t)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("delete the tables %s: %w", tableName, err)
	}
	return nil
}
