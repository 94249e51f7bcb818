package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// examples stand on the commands' help and manual pages, by the command's path.
var examples = map[string]string{
	"natlab up": `
sudo natlab up
kubectl get node,pod,svc,endpointslice -A -o yaml | sudo natlab up -f - --name mine
sudo natlab up -f cluster.yaml --bundle vms100=vms100.bundle --name twin
sudo natlab up --kube-proxy 1.37.2 --name real
sudo natlab up --dataplane userspace --fault port-twice --name broken
natlab --rootless up`,
	"natlab apply": `
sudo natlab apply -f services.yaml
sudo natlab apply -f services.yaml --name mine --full`,
	"natlab down": `
sudo natlab down
sudo natlab down --all`,
	"natlab status": `
natlab status
natlab status --name mine -o json`,
	"natlab get": `
natlab get services -A
natlab get pods -n velero -o wide
natlab get svc minio -n velero -o yaml
natlab get nodes -f cluster.yaml -o 'jsonpath={.items[*].metadata.name}'`,
	"natlab conntrack": `
sudo natlab conntrack vms101
sudo natlab conntrack vms101 -o extended
sudo natlab conntrack vms101 -p tcp --dport 30450 --dst-nat
sudo natlab conntrack vms101 --watch -o extended
sudo natlab conntrack vms101 --stats`,
	"natlab ports": `
sudo natlab ports vms100 --timeout 1m
sudo natlab ports vms100 -o html
natlab ports --events conntrack.log --range 32768-60999
natlab ports --bundle vms100.bundle`,
	"natlab exec": `
sudo natlab exec vms100 -- iptables-save -t nat
sudo natlab exec velero/minio-b6d98746c-lxt2c -- ip route
sudo natlab exec --all -- conntrack -C`,
	"natlab verify": `
sudo natlab verify
sudo natlab verify -f cluster.yaml --service velero/minio
sudo natlab verify --from outside --to 192.168.26.100:30450
sudo natlab verify --planes legacy,nft,userspace -f cluster.yaml
sudo natlab verify --kube-proxy 1.37.2
natlab --rootless verify --kube-proxy ./_output/bin/kube-proxy
sudo natlab verify -o junit
sudo natlab verify -f cluster.yaml --shard 1/4 -o junit
sudo natlab verify --record run-1
sudo natlab verify --service velero/minio:console -o html`,
	"natlab replay": `
natlab replay run-1
natlab replay run-1 --strict --brief
natlab replay run-1 --from outside -o pcapng`,
	"natlab ask": `
sudo natlab ask outside tcp 192.168.26.101:30450
sudo natlab ask vms100 udp 10.96.0.10:53
sudo natlab ask outside sctp '[fd00:9::2]:30132'
sudo natlab ask outside tcp 192.168.26.101:30450 -o pcapng`,
	"natlab watch": `
sudo natlab watch
sudo natlab watch vms100 vms101 --draw
sudo natlab watch --proto udp --dst 10.96.0.10 --count 10 -o json`,
	"natlab serve": `
sudo natlab serve
sudo natlab serve --name mine --listen 127.0.0.1:0`,
	"natlab rules": `
natlab rules --node vms100
natlab rules -f cluster.yaml --node worker-1 --release v1.31 --family ipv6
natlab rules --node vms100 --mode nftables --release v1.36.0`,
	"natlab explain": `
natlab explain --from outside --packet 'tcp 192.168.26.1 > 192.168.26.101:30450'
natlab explain --node vms100 --rules saved.txt --packet 'tcp 10.244.1.2:40000 > 10.96.0.1:443'
natlab explain --bundle vms100.bundle --packet 'udp 10.0.0.9 > 10.96.0.10:53'
natlab explain --from outside --packet 'tcp 192.168.26.1 > 192.168.26.101:30450' -o svg
natlab explain --code masquerade.missing`,
	"natlab view": `
sudo natlab view --as 1.4.21
natlab view --as 1.8.9 --rules saved.txt --style list`,
	"natlab collect": `
natlab collect > collect.sh
natlab collect --kubectl`,
	"natlab audit": `
sudo natlab audit --all
sudo natlab audit -f cluster.yaml
natlab audit -f cluster.yaml --bundle vms100=vms100.bundle`,
	"natlab plan": `
natlab plan -f cluster.yaml
natlab plan -o mermaid`,
	"natlab doctor": `
sudo natlab doctor
sudo natlab doctor -o json`,
	"natlab diff": `
natlab diff before.txt after.txt --node vms100
natlab diff monday.bundle tuesday.bundle`,
	"natlab migrate": `
natlab migrate -f cluster.yaml
natlab migrate -f cluster.yaml --release v1.36 --allow documented -o json
natlab migrate -f cluster.yaml --beside iptables-save.txt --beside node-1=node-1.save`,
	"natlab gateway": `
sudo natlab gateway --rules saved.txt --netns blue
sudo natlab gateway --rules saved.txt --netns blue --state blue.conns
sudo natlab gateway --rules saved.txt --netns blue --nat mapping=endpoint-independent,filtering=address-dependent`,
	"natlab conformance": `
sudo natlab conformance
sudo natlab conformance --focus 'affinity|topology' -v
sudo natlab conformance --name mine -o junit
natlab conformance --list --focus dual_stack`,
	"natlab scenario list": `
natlab scenario list`,
	"natlab scenario show": `
natlab scenario show kubernetes-114537
natlab scenario show kubernetes-114537 --script`,
	"natlab scenario run": `
sudo natlab scenario run kubernetes-114537 --variant buggy
sudo natlab scenario run --all --backend userspace
sudo natlab scenario run --all --family ipv6
sudo natlab scenario run --all --backend nftables
sudo natlab scenario run kubernetes-130484 --kube-proxy 1.32.2
sudo natlab scenario run --all --shard 1/4 -o junit
sudo natlab scenario run kubernetes-32415 -o html`,
	"natlab scenario grid": `
natlab scenario grid 6.1.xml 6.12.xml
natlab scenario grid reports.xml -o html`,
	"natlab vm run": `
natlab vm run --kernel 6.1 --kernel 7.x -- natlab verify
natlab vm run --kernel 6.12 -- natlab verify --kube-proxy 1.37.2 --mode ipvs
natlab vm run --kernel 6.12 --mirror https://mirror.example/debian -- natlab verify`,
	"natlab man": `
natlab man man1`,
	"natlab version": `
natlab version`,
}

// addExamples gives a command and those below it their examples.
func addExamples(cmd *cobra.Command) {
	if lines := strings.TrimSpace(examples[cmd.CommandPath()]); lines != "" {
		cmd.Example = "  " + strings.ReplaceAll(lines, "\n", "\n  ")
	}
	for _, sub := range cmd.Commands() {
		addExamples(sub)
	}
}
