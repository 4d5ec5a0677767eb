# One image for every role of dslice; what a container does is its command (docker-compose.yml).
FROM python:3.12-slim-bookworm

# bubblewrap, nsenter (util-linux) and ssh are for the nodes, ssh and rsync for the shell.
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap openssh-client rsync util-linux \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/dslice
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

# Named volumes take over the owner of these folders.
RUN useradd --create-home --uid 1000 dslice \
    && install -d -o dslice -g dslice -m 0700 /var/lib/dslice /run/enrol
USER dslice
WORKDIR /home/dslice
ENTRYPOINT ["dslice"]
