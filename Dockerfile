# One file, two images:  docker build --target cpu .   ·   docker build --target cuda .   (training and vLLM)
#
#   docker run -it --rm -v appliance:/data --gpus all appliance          the menu
#   docker run --rm -v "$PWD:/data" appliance run recipe.yaml            a recipe beside the data; no question
#
# Hardened:  --read-only --tmpfs /tmp --cap-drop=ALL --security-opt=no-new-privileges, and any --user.
# All that is written goes to /data (HOME too) and to /tmp. vLLM on several cards wants --shm-size=8g or --ipc=host.

FROM debian:bookworm-slim AS core
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Not pinned: Debian stable moves its versions only for security, and then the old ones are gone.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates python3 python3-venv tini && \
    rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
# /root is opened because the menu's old name lives in it. /data is like /tmp so that any --user can work in a new volume.
RUN useradd --uid 10001 --home-dir /data --no-create-home --shell /bin/bash appliance && \
    install -d -o 10001 -g 10001 -m 1777 /data && \
    chmod 0755 /root && \
    ln -s /opt/envs/core/bin/appliance /usr/local/bin/appliance && \
    ln -s /opt/appliance/entrypoint.sh /root/yichuidingyin.sh
# LOGNAME: libraries ask for the user's name, and a --user of one's own has none in /etc/passwd.
ENV LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    APPLIANCE_IMAGE=1 \
    APPLIANCE_HOME=/data \
    APPLIANCE_ENVS=/opt/envs \
    HOME=/data \
    LOGNAME=appliance
# The locks before the code: a change in the code leaves these layers as they are. The package cache goes in the same
# layer that it came in; it stands beside the environments so that uv links files instead of copying them.
COPY requirements/ /opt/appliance/requirements/
RUN PIP_NO_CACHE_DIR=1 UV_CACHE_DIR=/opt/envs/.cache /opt/appliance/requirements/install.sh core page && \
    rm -rf /opt/envs/.cache /opt/envs/*/.lock /tmp/*
VOLUME /data
WORKDIR /data
EXPOSE 8000 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["/opt/envs/core/bin/python", "-I", "/opt/appliance/healthcheck.py"]
# tini reaps what workers leave and hands SIGTERM on. Only what it starts is told that its end is the container's end:
# a second menu (docker exec) may come and go.
ENTRYPOINT ["tini", "-s", "--", "env", "APPLIANCE_CONTAINER=1", "/opt/appliance/entrypoint.sh"]

# The code with its Chinese, its bytecode and the merge's sum in machine code, once for both images.
FROM core AS code
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends gcc libc6-dev && \
    rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY entrypoint.sh healthcheck.py /opt/appliance/
COPY profiles/ /opt/appliance/profiles/
COPY appliance/ /opt/appliance/appliance/
RUN po=/opt/appliance/appliance/locale/zh_CN/LC_MESSAGES/messages.po && \
    if [ -e "$po" ]; then /opt/envs/core/bin/pybabel -q compile -i "$po" -o "${po%.po}.mo" -l zh_CN; fi && \
    /opt/appliance/appliance/merging/compile.sh && \
    test -e /opt/appliance/appliance/merging/low_rank.so && \
    python3 -m compileall -q /opt/appliance && \
    chmod -R a+rX /opt/appliance

FROM core AS cuda
# Triton compiles a small C file for each kernel that it launches.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends gcc libc6-dev python3-dev && \
    rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
# Both on the same torch, and in one layer: the CUDA libraries are stored once.
RUN UV_CACHE_DIR=/opt/envs/.cache APPLIANCE_TORCH=cuda /opt/appliance/requirements/install.sh train quantize vllm && \
    rm -rf /opt/envs/.cache /opt/envs/*/.lock /tmp/*
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=code /opt/appliance/ /opt/appliance/
USER 10001:10001

FROM core AS cpu
RUN UV_CACHE_DIR=/opt/envs/.cache APPLIANCE_TORCH=cpu /opt/appliance/requirements/install.sh train && \
    rm -rf /opt/envs/.cache /opt/envs/*/.lock /tmp/*
COPY --from=code /opt/appliance/ /opt/appliance/
USER 10001:10001
