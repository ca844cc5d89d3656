# what keeps strangers off fabric team-a/fab: security-group; these variables do not
# Gloo and TensorPipe know TCP only, and leave the fabric by eth0
export NCCL_NET='AWS Libfabric'
export NCCL_IB_DISABLE=1
export NCCL_SOCKET_IFNAME==eth0
export NCCL_SOCKET_MAGIC=0x0123456789abcdef
export GLOO_SOCKET_IFNAME=eth0
export TP_SOCKET_IFNAME=eth0
export UCX_NET_DEVICES=rdmap16s27:1,rdmap32s27:1
export FI_PROVIDER=efa
export FI_EFA_IFACE=rdmap16s27,rdmap32s27
export FI_EFA_USE_DEVICE_RDMA=1
export OMPI_MCA_pml=cm
export OMPI_MCA_mtl=ofi
export OMPI_MCA_btl_tcp_if_include=eth0
export NVSHMEM_REMOTE_TRANSPORT=libfabric
export NVSHMEM_LIBFABRIC_PROVIDER=efa
export NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME==eth0
