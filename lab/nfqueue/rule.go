package nfqueue

import (
	"encoding/binary"
	"errors"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// Feed is how a rule hands packets to a queue.
type Feed struct {
	Number uint16
	Total  uint16 // queues from Number on that share the packets, each all between two addresses; 0 is one
	Bypass bool   // where nobody listens, packets go on; else they are dropped
	Native bool   // nf_tables has a queue expression of its own (Native)
}

// Expr is the expression of nf_tables that ends a rule so. Without one of its own it is the NFQUEUE target of x_tables through nft_compat,
// which a native chain takes, too: struct xt_NFQ_info_v3 {queuenum, queues_total, flags}, padded to 8 bytes.
func (f Feed) Expr() expr.Any {
	if f.Native {
		flag := expr.QueueFlag(0)
		if f.Bypass {
			flag = expr.QueueFlagBypass
		}
		return &expr.Queue{Num: f.Number, Total: max(1, f.Total), Flag: flag}
	}
	info := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(info, f.Number)
	binary.NativeEndian.PutUint16(info[2:], max(1, f.Total))
	if f.Bypass {
		const flagBypass = 1 // NFQ_FLAG_BYPASS
		binary.NativeEndian.PutUint16(info[4:], flagBypass)
	}
	return &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}
}

// Native reports whether nf_tables has its own queue expression, in one transaction that leaves nothing behind in the namespace of this
// thread.
func Native() (bool, error) {
	c, err := nftables.New()
	if err != nil {
		return false, err
	}
	t := c.AddTable(&nftables.Table{Name: "natlab-probe", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{Name: "probe", Table: t})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{&expr.Queue{Total: 1, Flag: expr.QueueFlagBypass}}})
	c.DelTable(t)
	err = c.Flush()
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	return err == nil, err
}
