// Package conformance has the end-to-end tests of Kubernetes' Service data path (test/e2e/network), each by its upstream name and in words and
// scripts of our own, and runs them beside each other on one lab. It holds no rules and proves no path: what a test asks is whether clients get
// through, to whom, and as whom they are seen.
//
// # Scripts
//
// A test's script has the scenarios' verbs that touch nothing but its own, and these, in which pods, nodes and clients have the names of the
// cast: node0 node1 ..., pod0 and pod1 on node0, pod2 and pod3 on node1 and so on, host0 on the host network of node0, client on the nodes'
// network, far behind the router.
//
//	service NAME KEY=VALUE...  make a Service, or change it; what is not named stays:
//	    type=ClusterIP|NodePort|LoadBalancer|ExternalName|Headless
//	    ports=80/tcp,80/udp        each leads to a port of the pods that no other test has
//	    families=ipv4,ipv6         else the lab's first one; all: those that it has, that one first
//	    pods=pod0,pod2:unready     its endpoints: ready, or unready, terminating (and serving), dead (and not); a ";" begins a new
//	                               EndpointSlice, and 80/tcp>pod0 is one for that port alone
//	    target=N                   the pods' ports begin N further on; in each slice after a ";" so much further again
//	    hints=zone|node            the endpoints' hints: their own zone, their own node
//	    affinity=SECONDS|none etp=Local|Cluster itp=Local|Cluster ranges=client|CIDR,... external=yes|none
//	    lb=N                       a load balancer's address that nodeN announces
//	    distribution=WORD label=KEY nodeports=no
//	    cidr=RANGE,...             where its addresses are of
//	delete NAME                take a Service away
//	reach NAME KEY=VALUE...    ask it, by each client at each entry and port, until every endpoint has answered:
//	    from=pod1,node0,client     who asks
//	    at=cluster,node0,lb,external,localhost,pod
//	    ports=80/tcp by=pod0,pod2  of the Service's own, unless they are named
//	    family=ipv4|ipv6|all       of the Service's; all is the default
//	    seen=self|other            as whom the endpoint sees the client: by its own address, or by another
//	    same=yes times=N           one endpoint answers all N
//	    pause=DURATION             between two questions; wait=DURATION: what is not yet so may become so
//	    end=refused|rejected|lost  nobody answers; by "|" one of several ends
//	sync                       the nodes' kube-proxies write all rules anew
//
// $pod0 and the others are the members' names, $pod0_ip their address, $NAME a Service's first address and port, $NAME_node0 that of a node port,
// $NAME_lb and $NAME_pod0 of a load balancer and of an endpoint, $NAME_6 and $NAME_4 the first address of a family. A test that names one whom
// the lab does not have is skipped, and tells whom.
package conformance
